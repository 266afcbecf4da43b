//! The sorted table of an `.index` file: LevelDB's, as TensorFlow's lib/io/format.h and table_builder.cc have it.
//!
//! Blocks, then a footer of 48 bytes: the places of the meta-index and of the index, padded, and a magic number. A
//! place is two varints, offset and size. After a block's bytes stand one byte for its compression and the check sum of
//! both. A block is entries (bytes shared with the key before, bytes of its own, bytes of the value: varints; then
//! those bytes), the offsets of entries with whole keys, and how many those are.

use super::TensorflowError;
use super::crc32c::{crc32c, masked};
use super::wire::varint;
use crate::store::input;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

const FOOTER: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Behind every block: compression and check sum.
const TRAILER: usize = 5;
/// Of an index file, of a block in it, and of all entries: what a damaged file says must not fill the memory. GPT-2's
/// largest has some 50 kB.
const LARGEST: u64 = 16 << 20;

/// One entry: key and value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Whether a file ends as such tables do.
pub fn is_table(path: &Path) -> bool {
    let last = || -> std::io::Result<[u8; 8]> {
        let mut file = input::open(path)?;
        file.seek(SeekFrom::End(-8))?;
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    last().is_ok_and(|bytes| u64::from_le_bytes(bytes) == MAGIC)
}

/// All entries of a table, in order.
///
/// # Errors
/// A file that is no table, or is damaged: with the block's place in it.
pub fn read(path: &Path) -> Result<Vec<KeyValue>, TensorflowError> {
    let whole = |message: String| TensorflowError::file(path, message);
    let length = std::fs::metadata(path).map_err(|e| whole(e.to_string()))?.len();
    if length > LARGEST {
        return Err(whole(format!("has {length} bytes: not the index of a checkpoint")));
    }
    let bytes = input::read(path).map_err(|e| whole(e.to_string()))?;
    let Some((body, footer)) = bytes.split_last_chunk::<FOOTER>() else {
        return Err(whole(format!("has {} bytes, and an index has at least {FOOTER}: truncated", bytes.len())));
    };
    let (places, magic) = footer.split_at(FOOTER - 8);
    if magic != MAGIC.to_le_bytes() {
        return Err(whole("does not end as an index of TensorFlow's does: truncated, or another file".into()));
    }
    let damaged = || whole("its footer is damaged; fetch the file again".into());
    let (meta, rest) = place(places).ok_or_else(damaged)?;
    let (index, _) = place(rest).ok_or_else(damaged)?;
    let (mut all, mut left) = (Vec::new(), LARGEST as usize);
    // Nothing stands in it; that it is whole says something of the file.
    block(path, body, meta, &mut left)?;
    for (_, value) in block(path, body, index, &mut left)? {
        let (at, _) = place(&value)
            .ok_or_else(|| TensorflowError::block(path, index.0, "names no block; fetch the file again"))?;
        all.extend(block(path, body, at, &mut left)?);
    }
    match all.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        Some(pair) => {
            let key = String::from_utf8_lossy(&pair[1].0).into_owned();
            Err(TensorflowError::tensor(path, &key, "is out of order or there twice: damaged; fetch the file again"))
        }
        None => Ok(all),
    }
}

/// Offset and size, and what follows them.
fn place(bytes: &[u8]) -> Option<((u64, u64), &[u8])> {
    let (offset, rest) = varint(bytes)?;
    let (size, rest) = varint(rest)?;
    Some(((offset, size), rest))
}

/// The entries of the block at a place; `left`: bytes of entries that are still believed.
fn block(path: &Path, body: &[u8], (at, size): (u64, u64), left: &mut usize) -> Result<Vec<KeyValue>, TensorflowError> {
    let broken = |message: &str| TensorflowError::block(path, at, format!("{message}; fetch the file again"));
    let outside = || broken("lies outside the file: truncated or damaged");
    let from = usize::try_from(at).map_err(|_| outside())?;
    let size = usize::try_from(size).ok().filter(|size| *size as u64 <= LARGEST).ok_or_else(outside)?;
    let end = from.checked_add(size).and_then(|end| end.checked_add(TRAILER)).ok_or_else(outside)?;
    let all = body.get(from..end).ok_or_else(outside)?;
    let (checked, sum) = all.split_at(size + 1);
    if masked(crc32c(0, checked)).to_le_bytes() != sum {
        return Err(broken("has another check sum than was written: damaged"));
    }
    let (content, compression) = (&checked[..size], checked[size]);
    let unreadable = || broken("has no readable entries: damaged");
    match compression {
        0 => entries(content, left).ok_or_else(unreadable),
        1 => {
            let length = snap::raw::decompress_len(content).ok().filter(|length| *length as u64 <= LARGEST);
            let length = length.ok_or_else(|| broken("is not what Snappy makes: damaged"))?;
            let mut bytes = vec![0; length];
            snap::raw::Decoder::new()
                .decompress(content, &mut bytes)
                .map_err(|e| broken(&format!("cannot be unpacked by Snappy ({e}): damaged")))?;
            entries(&bytes, left).ok_or_else(unreadable)
        }
        other => Err(TensorflowError::block(
            path,
            at,
            format!("is compressed in a way ({other}) that is neither none (0) nor Snappy (1)"),
        )),
    }
}

/// Keys and values of an unpacked block; `None` where it is damaged.
fn entries(block: &[u8], left: &mut usize) -> Option<Vec<KeyValue>> {
    let (rest, count) = block.split_last_chunk::<4>()?;
    let restarts = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(4)?;
    let mut bytes = rest.get(..rest.len().checked_sub(restarts)?)?;
    let mut all: Vec<KeyValue> = Vec::new();
    while !bytes.is_empty() {
        let (shared, rest) = varint(bytes)?;
        let (own, rest) = varint(rest)?;
        let (value, rest) = varint(rest)?;
        let (own, rest) = rest.split_at_checked(usize::try_from(own).ok()?)?;
        let (value, rest) = rest.split_at_checked(usize::try_from(value).ok()?)?;
        let before = all.last().map_or(&[][..], |(key, _)| key);
        let shared = before.get(..usize::try_from(shared).ok()?)?;
        *left = left.checked_sub(shared.len() + own.len() + value.len() + 1)?;
        all.push(([shared, own].concat(), value.to_vec()));
        bytes = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_what_the_one_before_has() {
        let block = [0, 3, 1, b'a', b'b', b'c', b'1', 2, 1, 2, b'd', b'2', b'3', 0, 0, 0, 0, 1, 0, 0, 0];
        let expected = vec![(b"abc".to_vec(), b"1".to_vec()), (b"abd".to_vec(), b"23".to_vec())];
        assert_eq!(entries(&block, &mut 11), Some(expected));
        // More than is believed; more shared than there is; an entry longer than the block; more restarts than bytes.
        assert_eq!(entries(&block, &mut 10), None);
        assert_eq!(entries(&[1, 1, 0, b'a', 0, 0, 0, 0, 1, 0, 0, 0], &mut 100), None);
        assert_eq!(entries(&[0, 9, 0, b'a', 0, 0, 0, 0, 1, 0, 0, 0], &mut 100), None);
        assert_eq!(entries(&[0, 0, 0, 255, 255, 255, 255], &mut 100), None);
        assert_eq!(entries(&[], &mut 100), None);
    }
}
