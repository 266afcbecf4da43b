//! Protocol buffers on the wire, as far as a checkpoint needs them: fields by number, unknown ones skipped
//! (protobuf.dev/programming-guides/encoding).

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64,
    Bytes(&'a [u8]),
}

/// A number of 7 bits a byte, lowest first, and what follows it.
pub fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        if i == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// The fields of a message, in order; `None` where it is damaged.
pub fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, rest) = varint(bytes)?;
        let (field, rest) = match tag & 7 {
            0 => varint(rest).map(|(value, rest)| (Field::Varint(value), rest))?,
            1 => (Field::Fixed64, rest.get(8..)?),
            2 => {
                let (length, rest) = varint(rest)?;
                let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Field::Bytes(content), rest)
            }
            5 => {
                let (value, rest) = rest.split_first_chunk::<4>()?;
                (Field::Fixed32(u32::from_le_bytes(*value)), rest)
            }
            _ => return None,
        };
        found.push((tag >> 3, field));
        bytes = rest;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_message() {
        let message = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x35, 1, 0, 0, 0, 0x39, 1, 2, 3, 4, 5, 6, 7, 8];
        let expected =
            vec![(1, Field::Varint(150)), (2, Field::Bytes(b"hi")), (6, Field::Fixed32(1)), (7, Field::Fixed64)];
        assert_eq!(fields(&message), Some(expected));
        // Every cut between two fields is a message, every other one is not.
        for cut in 1..message.len() {
            assert_eq!(fields(&message[..cut]).is_some(), [3, 7, 12].contains(&cut), "{cut}");
        }
    }

    #[test]
    fn numbers_end() {
        assert_eq!(varint(&[0xff; 12]), None);
        let largest = [[0xff; 9].as_slice(), &[1]].concat();
        assert_eq!(varint(&largest), Some((u64::MAX, &[][..])));
        assert_eq!(varint(&[[0xff; 9].as_slice(), &[2]].concat()), None);
    }
}
