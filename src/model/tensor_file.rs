//! Named tensors in safetensors files, read and written one tensor at a time: however large the model, the host never
//! holds a second copy of it. Format: 8 bytes little-endian length of the header, the header (JSON: name -> dtype,
//! shape, data_offsets), the tensors' bytes, row-major and little-endian.

use super::ModelError;
use super::gpt2::Weight;
use super::sampling::to_vec;
use crate::store::atomic::write_atomic_with;
use crate::store::input;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Largest header that is believed. That of GPT-2's largest model has 60 kB; a damaged one must not fill the memory.
const LARGEST_HEADER: u64 = 10_000_000;
/// Bytes read or written at once.
const PIECE: usize = 1 << 20;

/// A file's tensors by name, read without a JSON tree in between; a name that is there twice is an error, where JSON's
/// readers would keep the last.
struct Header(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let info = map.next_value().map_err(|e| A::Error::custom(format!("tensor `{name}`: {e}")))?;
                    if tensors.contains_key(&name) {
                        return Err(A::Error::custom(format!("tensor `{name}` is there twice")));
                    }
                    tensors.insert(name, info);
                }
                Ok(Header(tensors))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Appends the numbers that some bytes hold.
type Decoder = fn(&[u8], &mut Vec<f32>);

/// One safetensors file.
#[derive(Debug)]
struct TensorFile {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes start.
    data: u64,
    tensors: BTreeMap<String, TensorInfo>,
}

impl TensorFile {
    /// Reads and checks the header: afterwards every tensor is known to lie inside the file.
    fn open(path: &Path) -> Result<Self, ModelError> {
        let error = |e: io::Error| ModelError::file(path, e);
        let mut file = input::open(path).map_err(error)?;
        let length = file.metadata().map_err(error)?.len();
        let broken =
            |what: &str| ModelError::file(path, format!("not a complete safetensors file ({what}); fetch it again"));
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(|_| broken("no header"))?;
        let size = u64::from_le_bytes(size);
        if size > LARGEST_HEADER || size + 8 > length {
            return Err(broken("the header is longer than the file"));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(error)?;
        let Header(tensors) = serde_json::from_slice(&header).map_err(|e| broken(&format!("its header: {e}")))?;
        for (name, info) in &tensors {
            // GPT-2's have two, transformers' masks four; what a damaged file says must fit into a message.
            if info.shape.len() > 8 {
                let message = format!("has {} dimensions: damaged; fetch the file again", info.shape.len());
                return Err(ModelError::tensor(path, name, message));
            }
            let (begin, end) = info.data_offsets;
            let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |n, d| n.checked_mul(*d));
            if begin > end || bits.is_none_or(|bits| Some(bits) != (end - begin).checked_mul(8)) {
                let message = format!("has shape {:?} of {:?} in bytes {begin}..{end}", info.shape, info.dtype);
                return Err(ModelError::tensor(path, name, format!("{message}: damaged; fetch the file again")));
            }
        }
        let found = Self { path: path.into(), file, data: size + 8, tensors };
        found.check_extent(length)?;
        Ok(found)
    }

    /// The tensors fill the file without gaps or overlaps.
    fn check_extent(&self, length: u64) -> Result<(), ModelError> {
        let mut all: Vec<_> = self.tensors.iter().map(|(name, info)| (info.data_offsets, name)).collect();
        all.sort_unstable();
        let mut at = 0;
        for ((begin, end), name) in all {
            if begin != at {
                return Err(ModelError::tensor(
                    &self.path,
                    name,
                    "overlaps another, or follows a gap; fetch the file again",
                ));
            }
            let end_in_file = (end as u64).saturating_add(self.data);
            if end_in_file > length {
                let message = format!("ends at byte {end_in_file}, the file at {length}: truncated; fetch it again");
                return Err(ModelError::tensor(&self.path, name, message));
            }
            at = end;
        }
        match length - self.data - at as u64 {
            0 => Ok(()),
            n => Err(ModelError::file(&self.path, format!("{n} bytes follow the last tensor; fetch the file again"))),
        }
    }

    /// How the tensor's bytes become numbers.
    fn decoder(&self, name: &str, info: &TensorInfo) -> Result<Decoder, ModelError> {
        match info.dtype {
            Dtype::F32 => {
                Ok(|b, out| out.extend(b.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))))
            }
            Dtype::F16 => Ok(|b, out| out.extend(b.chunks_exact(2).map(|c| f16::from_le_bytes([c[0], c[1]]).to_f32()))),
            Dtype::BF16 => {
                Ok(|b, out| out.extend(b.chunks_exact(2).map(|c| bf16::from_le_bytes([c[0], c[1]]).to_f32())))
            }
            other => {
                let message = format!("has type {other:?}; expected float32, float16 or bfloat16");
                Err(ModelError::tensor(&self.path, name, message))
            }
        }
    }

    /// Calls `f` with the tensor's numbers, in order, a piece at a time.
    fn pieces(&self, name: &str, info: &TensorInfo, f: &mut dyn FnMut(&[f32])) -> Result<(), ModelError> {
        let decode = self.decoder(name, info)?;
        let error = |e: io::Error| ModelError::tensor(&self.path, name, format!("cannot be read: {e}"));
        let (begin, end) = info.data_offsets;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.data + begin as u64)).map_err(error)?;
        let mut bytes = vec![0; PIECE.min(end - begin)];
        let mut values = Vec::new();
        let mut left = end - begin;
        while left > 0 {
            let now = left.min(PIECE);
            file.read_exact(&mut bytes[..now]).map_err(error)?;
            values.clear();
            decode(&bytes[..now], &mut values);
            f(&values);
            left -= now;
        }
        Ok(())
    }
}

/// The tensors of one model or checkpoint, in one file or in shards, under the names that GPT-2's code gives them.
#[derive(Debug)]
pub struct Tensors {
    /// The file, or the shards' index.
    path: PathBuf,
    files: Vec<TensorFile>,
    /// Our name -> (index into `files`, the name there).
    names: BTreeMap<String, (usize, String)>,
}

/// transformers' mask buffers: not weights.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}

impl Tensors {
    /// Opens one file; a leading `transformer.` is dropped from names, and attention-mask buffers are not listed.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::of(path, vec![TensorFile::open(path)?])
    }

    /// Opens a model directory: `model.safetensors`, or the shards of `model.safetensors.index.json`.
    pub fn open_dir(dir: &Path) -> Result<Self, ModelError> {
        match weight_files(dir)?.as_slice() {
            [one] => Self::open(one),
            [index, shards @ ..] => {
                let files = shards.iter().map(|s| TensorFile::open(s)).collect::<Result<Vec<_>, _>>()?;
                let set = Self::of(index, files)?;
                set.check_index(&read_index(index)?)?;
                Ok(set)
            }
            [] => Err(ModelError::file(dir, "has no weights")),
        }
    }

    fn of(path: &Path, files: Vec<TensorFile>) -> Result<Self, ModelError> {
        let mut names = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for name in file.tensors.keys().filter(|n| !is_buffer(n)) {
                let short = name.strip_prefix("transformer.").unwrap_or(name);
                if names.insert(short.to_string(), (i, name.clone())).is_some() {
                    return Err(ModelError::tensor(&file.path, name, "is there twice"));
                }
            }
        }
        Ok(Self { path: path.into(), files, names })
    }

    /// Every tensor is in the shard that the index says, and in no other.
    fn check_index(&self, index: &BTreeMap<String, String>) -> Result<(), ModelError> {
        for (i, full) in self.names.values() {
            let path = &self.files[*i].path;
            let said = index.get(full).map(String::as_str);
            if said != path.file_name().and_then(|n| n.to_str()) {
                let said = said.map_or("does not list it".into(), |s| format!("says {s}"));
                return Err(ModelError::tensor(path, full, format!("is here, but {} {said}", self.path.display())));
            }
        }
        let is_here = |full: &String| self.names.values().any(|(_, there)| there == full) || is_buffer(full);
        match index.iter().find(|(full, _)| !is_here(full)) {
            Some((full, shard)) => {
                Err(ModelError::tensor(self.path.with_file_name(shard), full, "is missing; the index lists it"))
            }
            None => Ok(()),
        }
    }

    /// Where errors that concern no tensor in particular point: the file or the index.
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    fn find(&self, name: &str) -> Result<(&TensorFile, &str, &TensorInfo), ModelError> {
        let found = self.names.get(name).and_then(|(i, full)| {
            let file = &self.files[*i];
            file.tensors.get(full).map(|info| (file, full.as_str(), info))
        });
        found.ok_or_else(|| ModelError::tensor(&self.path, name, "is missing"))
    }

    /// A problem with one tensor, in the file that holds it.
    pub fn error(&self, name: &str, message: impl Into<String>) -> ModelError {
        let path = self.find(name).map_or(&self.path, |(file, ..)| &file.path);
        ModelError::tensor(path, name, message)
    }
    /// Shape from the header, outermost first; an error where the numbers are of a type that is not read.
    pub fn shape(&self, name: &str) -> Result<&[usize], ModelError> {
        let (file, full, info) = self.find(name)?;
        file.decoder(full, info)?;
        Ok(&info.shape)
    }
    /// All numbers, row-major, as float32.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let (file, full, info) = self.find(name)?;
        let mut values = Vec::with_capacity(info.shape.iter().product());
        file.pieces(full, info, &mut |piece| values.extend_from_slice(piece))?;
        Ok(values)
    }
    /// Whether two tensors have the same shape and the same numbers, bit for bit.
    pub fn same(&self, a: &str, b: &str) -> Result<bool, ModelError> {
        if self.shape(a)? != self.shape(b)? {
            return Ok(false);
        }
        let left = self.read(a)?;
        let (file, full, info) = self.find(b)?;
        let (mut at, mut same) = (0, true);
        file.pieces(full, info, &mut |piece| {
            same &= left[at..at + piece.len()].iter().zip(piece).all(|(x, y)| x.to_bits() == y.to_bits());
            at += piece.len();
        })?;
        Ok(same)
    }
}

/// The files of a model directory that hold its weights, an index of shards first.
pub fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let (single, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
    if single.exists() {
        return Ok(vec![single]);
    }
    if index.exists() {
        let mut shards: Vec<String> = read_index(&index)?.into_values().collect();
        shards.sort_unstable();
        shards.dedup();
        return Ok(std::iter::once(index).chain(shards.iter().map(|s| dir.join(s))).collect());
    }
    let hint = if dir.join("pytorch_model.bin").exists() {
        "; save it again with transformers' save_pretrained(.., safe_serialization=True)"
    } else {
        ""
    };
    Err(ModelError::file(&single, format!("is not there, nor is model.safetensors.index.json{hint}")))
}

/// `weight_map` of an index: tensor -> shard.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    let text = super::read_text(path)?;
    let value: Value = serde_json::from_str(&text).map_err(|e| ModelError::file(path, e))?;
    let map = value["weight_map"].as_object().filter(|m| !m.is_empty());
    let map = map.ok_or_else(|| ModelError::file(path, "`weight_map` is missing or empty"))?;
    let entry = |(tensor, shard): (&String, &Value)| match shard.as_str() {
        Some(shard) if Path::new(shard).file_name().is_some_and(|n| n == shard) => Ok((tensor.clone(), shard.into())),
        _ => Err(ModelError::tensor(path, tensor, format!("is in {shard}, which is not a file name"))),
    };
    map.iter().map(entry).collect()
}

/// Takes the next numbers of a tensor that is being written.
pub type Sink<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

/// Writes named tensors as one float32 safetensors file, atomically, fetching one at a time from its device.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Weight>) -> Result<(), ModelError> {
    let shapes = tensors.iter().map(|(name, weight)| (name.clone(), weight.shape())).collect();
    let written = write_pieces(path, &shapes, &mut |name, sink| {
        let Some(weight) = tensors.get(name) else { return Ok(()) };
        sink(&to_vec(weight.clone().inner().flatten()).map_err(io::Error::other)?)
    });
    written.map_err(|e| ModelError::file(path, e))
}

/// Writes tensors of these shapes as one float32 safetensors file, atomically; `each` gives a tensor's numbers to the
/// sink, in any number of pieces. Nothing is left behind where it fails, or gives too few or too many.
pub fn write_pieces(
    path: &Path,
    shapes: &BTreeMap<String, Vec<usize>>,
    each: &mut dyn FnMut(&str, &mut Sink<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut at = 0;
    for (name, shape) in shapes {
        let end = at + 4 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // Tensors start at a multiple of 8 bytes.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    write_atomic_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for (name, shape) in shapes {
            let mut left = shape.iter().product::<usize>();
            each(name, &mut |values| {
                left = left.checked_sub(values.len()).ok_or_else(|| io::Error::other("too many numbers"))?;
                for piece in values.chunks(PIECE / 4) {
                    let bytes: Vec<u8> = piece.iter().flat_map(|v| v.to_le_bytes()).collect();
                    file.write_all(&bytes)?;
                }
                Ok(())
            })?;
            if left > 0 {
                return Err(io::Error::other(format!("tensor `{name}` has {left} numbers too few")));
            }
        }
        Ok(())
    })
}
