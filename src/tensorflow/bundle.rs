//! A checkpoint of TensorFlow's second version: PREFIX.index, a sorted table from a tensor's name to its type, shape
//! and place, and PREFIX.data-NNNNN-of-NNNNN, the bytes (tensor_bundle.proto). Nothing but the index is held; a
//! tensor's numbers come in pieces, and its check sum is compared when the last has come.

use super::crc32c::{crc32c, masked};
use super::wire::{Field, fields};
use super::{TensorflowError, table};
use crate::store::input;
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes read at once; a multiple of every number's.
const PIECE: usize = 1 << 20;
/// Shards of one bundle. The Saver makes one, or one a device.
const MOST_SHARDS: u64 = 4096;
/// Version of the format that this reads (tensor_bundle.h, kTensorBundleMinConsumer and kTensorBundleVersion).
const VERSION: u64 = 1;
/// Keys of what TensorFlow 2 and Keras save beside the tensors.
const OBJECT_GRAPH: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// A tensor of the index.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TensorEntry {
    /// Number of TensorFlow's DataType.
    dtype: u64,
    /// Outermost first; a scalar has none.
    pub shape: Vec<usize>,
    shard: u64,
    offset: u64,
    size: u64,
    /// Masked, as stored.
    crc: u32,
    /// Cut into slices that have entries of their own.
    partitioned: bool,
}

/// An opened checkpoint.
#[derive(Debug)]
pub struct Bundle {
    prefix: PathBuf,
    shards: u64,
    entries: BTreeMap<String, TensorEntry>,
}

/// Names of TensorFlow's types (types.proto), as numpy and TensorFlow write them.
fn type_name(dtype: u64) -> String {
    let name = match dtype {
        1 => "float32",
        2 => "float64",
        3 => "int32",
        4 => "uint8",
        5 => "int16",
        6 => "int8",
        7 => "string",
        8 => "complex64",
        9 => "int64",
        10 => "bool",
        14 => "bfloat16",
        19 => "float16",
        20 => "resource",
        other => return format!("number {other}"),
    };
    name.into()
}

/// Path with something put behind its name.
pub(super) fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_os_string();
    path.push(ending);
    PathBuf::from(path)
}

impl Bundle {
    /// Reads and checks the index.
    ///
    /// # Errors
    /// There is none, it is damaged, a file of the first version stands in its place, or it says what is not read here.
    pub fn open(prefix: &Path) -> Result<Self, TensorflowError> {
        let index = with_ending(prefix, ".index");
        if !index.exists() {
            return Err(Self::without_index(prefix, &index));
        }
        let mut pairs = table::read(&index)?.into_iter();
        let damaged = |what: &str| TensorflowError::file(&index, format!("{what}: damaged; fetch it again"));
        let header = match pairs.next() {
            Some((key, value)) if key.is_empty() => value,
            _ => return Err(TensorflowError::file(&index, "has no header: not the index of a checkpoint")),
        };
        let shards = Self::header(&index, &header)?;
        let mut entries = BTreeMap::new();
        // Behind a byte 0 are the parts of partitioned tensors, which have an entry of their own.
        for (key, value) in pairs.filter(|(key, _)| key.first() != Some(&0)) {
            let name = String::from_utf8(key).map_err(|_| damaged("a tensor's name is not UTF-8"))?;
            let tensor = |message: &str| TensorflowError::tensor(&index, &name, message);
            let entry =
                entry(&value).ok_or_else(|| tensor("has an entry that cannot be read; fetch the file again"))?;
            if entry.shard >= shards && !entry.partitioned {
                return Err(tensor(&format!("is in shard {}, and there are {shards}", entry.shard)));
            }
            entries.insert(name, entry);
        }
        Ok(Self { prefix: prefix.into(), shards, entries })
    }

    fn without_index(prefix: &Path, index: &Path) -> TensorflowError {
        if table::is_table(prefix) {
            let message = "is a checkpoint of TensorFlow's first version (one file, no .index), which is not read; in \
                           TensorFlow, restore it and save it with tf.compat.v1.train.Saver (write_version V2)";
            return TensorflowError::file(prefix, message);
        }
        TensorflowError::file(index, "is not there; name a checkpoint's directory, or its files without .index")
    }

    /// How many shards the header says.
    fn header(index: &Path, bytes: &[u8]) -> Result<u64, TensorflowError> {
        let refuse = |message: String| Err(TensorflowError::file(index, message));
        let Some(found) = fields(bytes) else {
            return refuse("has a header that cannot be read; fetch the file again".into());
        };
        // A number that is not written is 0.
        let (mut shards, mut wanted) = (0, 0);
        for field in found {
            match field {
                (1, Field::Varint(n)) => shards = n,
                (2, Field::Varint(1)) => {
                    return refuse("was written on a machine that puts the highest byte first; not read".into());
                }
                (3, Field::Bytes(version)) => {
                    let least = fields(version).unwrap_or_default().into_iter().rfind(|(number, _)| *number == 2);
                    wanted = least.map_or(0, |(_, field)| if let Field::Varint(n) = field { n } else { 0 });
                }
                _ => {}
            }
        }
        if wanted > VERSION {
            return refuse(format!("wants a reader of version {wanted}; this one reads version {VERSION}"));
        }
        match (1..=MOST_SHARDS).contains(&shards) {
            true => Ok(shards),
            false => refuse(format!("says that there are {shards} data files: damaged; fetch it again")),
        }
    }

    pub fn prefix(&self) -> &Path {
        &self.prefix
    }
    pub fn index(&self) -> PathBuf {
        with_ending(&self.prefix, ".index")
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.entries.get(name)
    }
    /// Whether TensorFlow 2 or Keras saved it, by objects rather than by variable names.
    pub fn is_of_objects(&self) -> bool {
        self.entries.contains_key(OBJECT_GRAPH)
    }
    /// Endings of the data files' names.
    pub fn shard_endings(&self) -> Vec<String> {
        (0..self.shards).map(|shard| shard_ending(shard, self.shards)).collect()
    }

    /// A problem with one tensor.
    pub fn error(&self, name: &str, message: impl Into<String>) -> TensorflowError {
        TensorflowError::tensor(self.index(), name, message)
    }

    fn shard(&self, entry: &TensorEntry) -> PathBuf {
        with_ending(&self.prefix, &shard_ending(entry.shard, self.shards))
    }

    /// Checks everything about a tensor but its bytes: type, size, and that its data file is there and long enough.
    ///
    /// # Errors
    /// Each of these, with the tensor's name.
    pub fn check(&self, name: &str) -> Result<&TensorEntry, TensorflowError> {
        let entry = self.get(name).ok_or_else(|| self.error(name, "is missing"))?;
        if entry.partitioned {
            return Err(self.error(name, "is cut into parts (a partitioned variable), which are not put together here"));
        }
        let (bytes, _) = decoder(entry.dtype).ok_or_else(|| {
            let kind = type_name(entry.dtype);
            self.error(name, format!("has type {kind}; expected float32, float16 or bfloat16"))
        })?;
        let expected = entry.shape.iter().try_fold(bytes as u64, |n, side| n.checked_mul(*side as u64));
        if expected != Some(entry.size) {
            let message = format!("has {} bytes for the shape {:?}: damaged", entry.size, entry.shape);
            return Err(self.error(name, message));
        }
        let path = self.shard(entry);
        let wrong = |message: String| TensorflowError::tensor(&path, name, message);
        let length = std::fs::metadata(&path)
            .map_err(|_| wrong("is in this file, which is missing; fetch all files of the checkpoint".into()))?
            .len();
        let end = entry.offset.checked_add(entry.size);
        if end.is_none_or(|end| end > length) {
            let end = end.map_or("beyond all files".into(), |end| format!("at byte {end}"));
            return Err(wrong(format!("ends {end}, the file at {length}: truncated; fetch it again")));
        }
        Ok(entry)
    }

    /// Calls `f` with the tensor's numbers in order, row-major, a piece at a time; what `f` fails with ends it.
    ///
    /// # Errors
    /// Those of [`Bundle::check`], those of `f`, and another check sum than the index has.
    pub fn pieces<E: From<TensorflowError>>(
        &self,
        name: &str,
        f: &mut dyn FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let entry = self.check(name)?;
        let path = self.shard(entry);
        let wrong = |message: String| TensorflowError::tensor(&path, name, message);
        let unread = |e: std::io::Error| wrong(format!("cannot be read: {e}"));
        let Some((_, decode)) = decoder(entry.dtype) else { return Ok(()) };
        let mut file: File = input::open(&path).map_err(unread)?;
        file.seek(SeekFrom::Start(entry.offset)).map_err(unread)?;
        let mut left = entry.size;
        let (mut bytes, mut values, mut sum) = (vec![0; PIECE.min(entry.size as usize)], Vec::new(), 0);
        while left > 0 {
            let now = left.min(PIECE as u64) as usize;
            file.read_exact(&mut bytes[..now]).map_err(unread)?;
            sum = crc32c(sum, &bytes[..now]);
            values.clear();
            decode(&bytes[..now], &mut values);
            f(&values)?;
            left -= now as u64;
        }
        if masked(sum) != entry.crc {
            return Err(wrong(
                "has another check sum than was written: damaged; delete the file and fetch it again".into(),
            )
            .into());
        }
        Ok(())
    }

    /// All numbers of a tensor.
    ///
    /// # Errors
    /// Those of [`Bundle::pieces`].
    pub fn read(&self, name: &str) -> Result<Vec<f32>, TensorflowError> {
        let mut values = Vec::new();
        self.pieces::<TensorflowError>(name, &mut |piece| {
            values.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(values)
    }
}

fn shard_ending(shard: u64, shards: u64) -> String {
    format!(".data-{shard:05}-of-{shards:05}")
}

/// Appends the numbers that some bytes hold.
type Decoder = fn(&[u8], &mut Vec<f32>);

/// Bytes of a number of a type, and how they become one; all three types are exact in 32 bits.
fn decoder(dtype: u64) -> Option<(usize, Decoder)> {
    match dtype {
        1 => Some((4, |b, out| out.extend(b.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))))),
        14 => Some((2, |b, out| out.extend(b.chunks_exact(2).map(|c| bf16::from_le_bytes([c[0], c[1]]).to_f32())))),
        19 => Some((2, |b, out| out.extend(b.chunks_exact(2).map(|c| f16::from_le_bytes([c[0], c[1]]).to_f32())))),
        _ => None,
    }
}

/// A BundleEntryProto; `None` where it is damaged.
fn entry(bytes: &[u8]) -> Option<TensorEntry> {
    let mut entry = TensorEntry::default();
    for field in fields(bytes)? {
        match field {
            (1, Field::Varint(n)) => entry.dtype = n,
            (2, Field::Bytes(shape)) => entry.shape = self::shape(shape)?,
            (3, Field::Varint(n)) => entry.shard = n,
            (4, Field::Varint(n)) => entry.offset = n,
            (5, Field::Varint(n)) => entry.size = n,
            (6, Field::Fixed32(n)) => entry.crc = n,
            (7, Field::Bytes(_)) => entry.partitioned = true,
            _ => {}
        }
    }
    Some(entry)
}

/// A TensorShapeProto. More than eight dimensions are damage: a model's tensors have three at most.
fn shape(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut sides = Vec::new();
    for field in fields(bytes)? {
        if let (2, Field::Bytes(dimension)) = field {
            let size = fields(dimension)?.into_iter().rfind(|(number, _)| *number == 1);
            sides.push(match size {
                Some((_, Field::Varint(n))) => usize::try_from(n).ok()?,
                _ => 0,
            });
        }
    }
    (sides.len() <= 8).then_some(sides)
}
