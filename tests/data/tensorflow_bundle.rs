//! Writes TensorFlow's checkpoint format, for models that are too large to lie beside the tests: one shard, one
//! uncompressed block. That the reader understands what TensorFlow itself wrote is shown by tests/import.rs.

use runner::tensorflow::{crc32c, masked};

/// Name, shape and numbers.
pub type Variable = (String, Vec<usize>, Vec<f32>);

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of bytes.
fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn entry(shape: &[usize], offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x08, 1];
    let mut sides = Vec::new();
    for side in shape {
        let mut size = vec![0x08];
        varint(*side as u64, &mut size);
        field(2, &size, &mut sides);
    }
    field(2, &sides, &mut out);
    for (tag, value) in [(0x20, offset), (0x28, bytes.len() as u64)] {
        out.push(tag);
        varint(value, &mut out);
    }
    out.push(0x35);
    out.extend_from_slice(&masked(crc32c(0, bytes)).to_le_bytes());
    out
}

/// A block behind what is there, and its place.
fn block(pairs: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) -> Vec<u8> {
    let (mut body, mut restarts) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        restarts.push(body.len() as u32);
        body.push(0);
        varint(key.len() as u64, &mut body);
        varint(value.len() as u64, &mut body);
        body.extend_from_slice(key);
        body.extend_from_slice(value);
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    restarts.iter().for_each(|restart| body.extend_from_slice(&restart.to_le_bytes()));
    body.extend_from_slice(&(restarts.len() as u32).to_le_bytes());
    let mut place = Vec::new();
    varint(out.len() as u64, &mut place);
    varint(body.len() as u64, &mut place);
    // Not compressed.
    body.push(0);
    let sum = masked(crc32c(0, &body));
    out.extend_from_slice(&body);
    out.extend_from_slice(&sum.to_le_bytes());
    place
}

/// The bytes of PREFIX.index and of PREFIX.data-00000-of-00001.
pub fn bundle(mut variables: Vec<Variable>) -> (Vec<u8>, Vec<u8>) {
    variables.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let mut data = Vec::new();
    // One shard, of a producer of version 1.
    let mut pairs = vec![(Vec::new(), vec![0x08, 1, 0x1a, 2, 0x08, 1])];
    for (name, shape, values) in &variables {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        pairs.push((name.clone().into_bytes(), entry(shape, data.len() as u64, &bytes)));
        data.extend_from_slice(&bytes);
    }
    let mut index = Vec::new();
    let last = pairs.last().map(|(key, _)| key.clone()).unwrap_or_default();
    let place = block(&pairs, &mut index);
    let meta = block(&[], &mut index);
    let top = block(&[(last, place)], &mut index);
    let mut footer = [meta, top].concat();
    footer.resize(40, 0);
    index.extend_from_slice(&footer);
    index.extend_from_slice(&0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    (index, data)
}
