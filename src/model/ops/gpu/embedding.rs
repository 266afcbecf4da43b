//! Rows of two tables for each token, and the tables' gradients: a sum over a token's uses.
//!
//! Uses are added in the order of the batch, whatever the device does first: those in a block of consecutive tokens, then
//! the blocks. A common token, padding above all, has many uses, and no unit adds up more than a block of them, or one
//! number for each block.

use super::{UNITS, cubes, dims, each, empty, flat, floats, row_units};
use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Most blocks, as many as a cube keeps places in, and fewest tokens in one.
const BLOCKS: usize = UNITS;
const BLOCK: usize = 16;

/// y = tokens[ids] + places[positions], `width` numbers to a row.
#[cube(launch)]
fn embed_kernel(tokens: &[f32], places: &[f32], ids: &[i32], positions: &[i32], y: &mut [f32], width: usize) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let (row, channel) = (i / width, i % width);
    y[i] = tokens[ids[row] as usize * width + channel] + places[positions[row] as usize * width + channel];
}

/// The gradients of an id's uses in one block, added up at the first of them, whose key is the id + 1; other keys are 0.
/// A cube to a token, a unit to a channel.
#[cube(launch)]
fn use_sums_kernel(ids: &[i32], g: &[f32], sums: &mut [f32], keys: &mut [i32], n: usize, width: usize, block: usize) {
    let token = CUBE_POS;
    if token >= n {
        terminate!();
    }
    let id = ids[token];
    let mut before = token / block * block;
    while before < token && ids[before] != id {
        before += 1;
    }
    let first = before == token;
    if UNIT_POS == 0 {
        let mut key = 0i32;
        if first {
            key = id + 1;
        }
        keys[token] = key;
    }
    if !first {
        terminate!();
    }
    let mut to = (token / block + 1) * block;
    if to > n {
        to = n;
    }
    let mut channel = UNIT_POS as usize;
    while channel < width {
        let mut sum = 0.0f32;
        for use_at in token..to {
            if ids[use_at] == id {
                sum += g[use_at * width + channel];
            }
        }
        sums[token * width + channel] = sum;
        channel += CUBE_DIM as usize;
    }
}

/// The sums of all blocks that have an id, block by block, to its row of the table: by the cube of its first use.
#[cube(launch)]
fn table_kernel(keys: &[i32], sums: &[f32], table: &mut [f32], n: usize, width: usize, block: usize) {
    let token = CUBE_POS;
    if token >= n {
        terminate!();
    }
    // Where each block has its sum: the token + 1.
    let mut places = Shared::<[u32]>::new_slice(BLOCKS);
    let key = keys[token];
    let mut i = UNIT_POS as usize;
    while i < BLOCKS {
        places[i] = 0;
        i += CUBE_DIM as usize;
    }
    sync_cube();
    let mut i = UNIT_POS as usize;
    if key == 0 {
        i = n;
    }
    while i < n {
        // One at most in a block.
        if keys[i] == key {
            places[i / block] = i as u32 + 1;
        }
        i += CUBE_DIM as usize;
    }
    sync_cube();
    let own = token / block;
    let mut before = 0;
    while before < own && places[before] == 0 {
        before += 1;
    }
    if key == 0 || before < own {
        terminate!();
    }
    let row = (key - 1) as usize * width;
    let mut channel = UNIT_POS as usize;
    while channel < width {
        let mut sum = 0.0f32;
        for place in own..BLOCKS {
            if places[place] != 0 {
                sum += sums[(places[place] - 1) as usize * width + channel];
            }
        }
        table[row + channel] = sum;
        channel += CUBE_DIM as usize;
    }
}

/// `[vocab, width]`, `[context, width]`, `[n]`, `[n]` -> `[n, width]`.
pub fn forward([tokens, places]: &[CubeTensor; 2], ids: &CubeTensor, positions: &CubeTensor) -> CubeTensor {
    let ([n], [_, width]) = (dims(ids), dims(tokens));
    let y = floats(tokens, [n, width]);
    let (count, dim) = each(&y);
    let target = y.clone().into_buffer_arg();
    let (tokens, places) = (flat(tokens), flat(places));
    embed_kernel::launch(&y.client, count, dim, tokens, places, flat(ids), flat(positions), target, width);
    y
}

/// The gradient of a table of this shape from that of its rows `ids` `[n]`, `[n, width]`.
pub fn backward(shape: Shape, ids: &CubeTensor, g: &CubeTensor) -> CubeTensor {
    let table = Cube::float_zeros(shape, &g.device, FloatDType::F32);
    let [n, width] = dims(g);
    let block = n.div_ceil(BLOCKS).max(BLOCK);
    let (sums, keys) = (floats(g, [n, width]), empty(g, [n], DType::I32));
    let arg = |t: &CubeTensor| t.clone().into_buffer_arg();
    let (client, units) = (&g.client, row_units(width));
    use_sums_kernel::launch(client, cubes(n), units, flat(ids), flat(g), arg(&sums), arg(&keys), n, width, block);
    table_kernel::launch(client, cubes(n), units, arg(&keys), arg(&sums), arg(&table), n, width, block);
    table
}
