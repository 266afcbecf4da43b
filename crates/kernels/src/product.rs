//! Matrix products on slices: the `gemm` crate's where there is much to reuse, and kernels of our own for few rows.
//!
//! A step of cached sampling multiplies 1 to 16 rows with every weight of the model. Then each weight is used for a few
//! operations only and the product is as fast as the weights can be read; packing them first, as a general product
//! does, reads and writes them once more. The kernels here read each weight once, in the order in which it lies.

use crate::vectors::{Level, level};
use rayon::prelude::*;

/// At most so many rows go through the kernels for few rows.
const FEW: usize = 16;
/// Columns of the result that one task computes.
const COLUMNS: usize = 512;
/// Multiplications below which a product is not worth a second thread.
const PARALLEL: usize = 192 * 192 * 192;

/// A matrix inside a slice: element (i, j) is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl<'a> View<'a> {
    /// Rows of `width` numbers.
    pub fn rows(data: &'a [f32], width: usize) -> Self {
        Self { data, row: width, column: 1 }
    }
    pub fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
    fn holds(&self, rows: usize, columns: usize) -> bool {
        self.data.len() > (rows - 1) * self.row + (columns - 1) * self.column
    }
}

/// Whether a product replaces what is in its destination or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Write {
    Set,
    Add,
}

/// c = a · b or c += a · b, with rows of `c` `c_row` apart. `(m, k, n)`: `[m, k]` times `[k, n]`. `threads`: whether a
/// large product may use all threads; the numbers are the same.
pub fn multiply(
    (m, k, n): (usize, usize, usize),
    c: &mut [f32],
    c_row: usize,
    a: View<'_>,
    b: View<'_>,
    write: Write,
    threads: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(c.len() > (m - 1) * c_row + n - 1 && a.holds(m, k) && b.holds(k, n));
    let large = m.saturating_mul(k).saturating_mul(n) >= PARALLEL;
    let parallelism = if threads && large { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    let add = write == Write::Add;
    // SAFETY: the largest index of each matrix is inside its slice, and `c` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_row as isize,
            add,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            if add { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// y += x · w: `[m, k]`, `[k, n]`, all row-major, on all threads.
pub fn add_product(x: &[f32], w: &[f32], (m, k, n): (usize, usize, usize), y: &mut [f32]) {
    assert!(x.len() == m * k && w.len() == k * n && y.len() == m * n);
    let level = level();
    if m > FEW || m * k * n == 0 || level == Level::Portable {
        return multiply((m, k, n), y, n, View::rows(x, k), View::rows(w, n), Write::Add, true);
    }
    let parts: Vec<Vec<f32>> = tasks(n)
        .map(|from| {
            let columns = COLUMNS.min(n - from);
            let mut part = Vec::with_capacity(m * columns);
            (0..m).for_each(|r| part.extend_from_slice(&y[r * n + from..r * n + from + columns]));
            few_rows(level, x, (m, k, columns), &w[from..], n, &mut part);
            part
        })
        .collect();
    scatter(&parts, n, y);
}

/// x · wᵀ: `[m, k]`, `[n, k]` -> `[m, n]`, all row-major, on all threads.
pub fn product_transposed(x: &[f32], w: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
    assert!(x.len() == m * k && w.len() == n * k);
    let mut y = vec![0.0; m * n];
    let level = level();
    if m > FEW || m * k * n == 0 || level == Level::Portable {
        multiply((m, k, n), &mut y, n, View::rows(x, k), View::rows(w, k).transposed(), Write::Set, true);
        return y;
    }
    let parts: Vec<Vec<f32>> = tasks(n)
        .map(|from| {
            let columns = COLUMNS.min(n - from);
            let mut part = vec![0.0; m * columns];
            few_rows_transposed(level, x, (m, k, columns), &w[from * k..(from + columns) * k], &mut part);
            part
        })
        .collect();
    scatter(&parts, n, &mut y);
    y
}

/// First columns of the tasks that a result of `n` columns is made of.
fn tasks(n: usize) -> impl IndexedParallelIterator<Item = usize> {
    (0..n.div_ceil(COLUMNS)).into_par_iter().map(|i| i * COLUMNS)
}

/// Puts the tasks' columns beside each other.
fn scatter(parts: &[Vec<f32>], n: usize, y: &mut [f32]) {
    for (r, row) in y.chunks_exact_mut(n).enumerate() {
        for (part, out) in parts.iter().zip(row.chunks_mut(COLUMNS)) {
            out.copy_from_slice(&part[r * out.len()..(r + 1) * out.len()]);
        }
    }
}

/// Kernels for one width of vector registers.
macro_rules! kernels {
    ($module:ident, $feature:literal, $lanes:literal, $load:ident, $store:ident, $splat:ident, $fma:ident, $rows:literal) => {
        #[cfg(target_arch = "x86_64")]
        mod $module {
            use std::arch::x86_64::{$fma, $load, $splat, $store};

            /// Rows of `w` that are worked on together.
            const PANEL: usize = 8;
            /// Columns of a tile.
            const TILE: usize = 2 * $lanes;

            /// y += x · w for `[m, k]` and the first `n` columns of rows of `w` that are `stride` apart.
            #[target_feature(enable = $feature)]
            pub fn few_rows(x: &[f32], (m, k, n): (usize, usize, usize), w: &[f32], stride: usize, y: &mut [f32]) {
                assert!(x.len() >= m * k && y.len() >= m * n && w.len() >= (k - 1) * stride + n);
                let whole = n / TILE * TILE;
                for panel in (0..k).step_by(PANEL) {
                    let until = k.min(panel + PANEL);
                    for c in (0..whole).step_by(TILE) {
                        let mut r = 0;
                        while r + $rows <= m {
                            // SAFETY: rows r.., columns c..c + TILE and panel..until are inside what was asserted.
                            unsafe { tile::<$rows>(x, (r, k, n), panel..until, c, w, stride, y) };
                            r += $rows;
                        }
                        while r < m {
                            // SAFETY: as above.
                            unsafe { tile::<1>(x, (r, k, n), panel..until, c, w, stride, y) };
                            r += 1;
                        }
                    }
                    for r in 0..m {
                        for c in whole..n {
                            for at in panel..until {
                                y[r * n + c] = x[r * k + at].mul_add(w[at * stride + c], y[r * n + c]);
                            }
                        }
                    }
                }
            }

            #[target_feature(enable = $feature)]
            unsafe fn tile<const R: usize>(
                x: &[f32],
                (r, k, n): (usize, usize, usize),
                panel: std::ops::Range<usize>,
                c: usize,
                w: &[f32],
                stride: usize,
                y: &mut [f32],
            ) {
                // SAFETY: the caller's.
                unsafe {
                    let y = y.as_mut_ptr().add(r * n + c);
                    let mut sums = [[$splat(0.0); 2]; R];
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = [$load(y.add(i * n)), $load(y.add(i * n + $lanes))];
                    }
                    for at in panel {
                        let w = w.as_ptr().add(at * stride + c);
                        let (a, b) = ($load(w), $load(w.add($lanes)));
                        for (i, sum) in sums.iter_mut().enumerate() {
                            let x = $splat(*x.get_unchecked((r + i) * k + at));
                            *sum = [$fma(x, a, sum[0]), $fma(x, b, sum[1])];
                        }
                    }
                    for (i, sum) in sums.iter().enumerate() {
                        $store(y.add(i * n), sum[0]);
                        $store(y.add(i * n + $lanes), sum[1]);
                    }
                }
            }

            /// y = x · wᵀ for `[m, k]` and `[n, k]`.
            #[target_feature(enable = $feature)]
            pub fn few_rows_transposed(x: &[f32], (m, k, n): (usize, usize, usize), w: &[f32], y: &mut [f32]) {
                assert!(x.len() >= m * k && w.len() >= n * k && y.len() >= m * n);
                let mut c = 0;
                while c < n {
                    let mut r = 0;
                    let four = c + 4 <= n;
                    while r < m {
                        // SAFETY: rows r.. of x and c.. of w are inside what was asserted.
                        unsafe {
                            match (r + $rows <= m, four) {
                                (true, true) => dots::<$rows, 4>(x, (r, k, n), c, w, y),
                                (true, false) => dots::<$rows, 1>(x, (r, k, n), c, w, y),
                                (false, true) => dots::<1, 4>(x, (r, k, n), c, w, y),
                                (false, false) => dots::<1, 1>(x, (r, k, n), c, w, y),
                            }
                        }
                        r += if r + $rows <= m { $rows } else { 1 };
                    }
                    c += if four { 4 } else { 1 };
                }
            }

            #[target_feature(enable = $feature)]
            unsafe fn dots<const R: usize, const C: usize>(
                x: &[f32],
                (r, k, n): (usize, usize, usize),
                c: usize,
                w: &[f32],
                y: &mut [f32],
            ) {
                let whole = k / $lanes * $lanes;
                let mut sums = [[$splat(0.0); C]; R];
                for at in (0..whole).step_by($lanes) {
                    // SAFETY: the caller's.
                    unsafe {
                        let mut b = [$splat(0.0); C];
                        for (j, b) in b.iter_mut().enumerate() {
                            *b = $load(w.as_ptr().add((c + j) * k + at));
                        }
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let a = $load(x.as_ptr().add((r + i) * k + at));
                            for (sum, b) in sums.iter_mut().zip(b) {
                                *sum = $fma(a, b, *sum);
                            }
                        }
                    }
                }
                for (i, sums) in sums.iter().enumerate() {
                    for (j, sum) in sums.iter().enumerate() {
                        let mut lanes = [0.0f32; $lanes];
                        // SAFETY: as many lanes as a register has.
                        unsafe { $store(lanes.as_mut_ptr(), *sum) };
                        let mut total: f32 = lanes.iter().sum();
                        for at in whole..k {
                            total = x[(r + i) * k + at].mul_add(w[(c + j) * k + at], total);
                        }
                        y[(r + i) * n + c + j] = total;
                    }
                }
            }
        }
    };
}

kernels!(avx512, "avx512f", 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, 4);
kernels!(avx2, "avx2,fma", 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps, 2);

fn few_rows(level: Level, x: &[f32], size: (usize, usize, usize), w: &[f32], stride: usize, y: &mut [f32]) {
    match level {
        // SAFETY: `level` has asked the processor.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::few_rows(x, size, w, stride, y) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::few_rows(x, size, w, stride, y) },
        _ => multiply(size, y, size.2, View::rows(x, size.1), View::rows(w, stride), Write::Add, false),
    }
}

fn few_rows_transposed(level: Level, x: &[f32], size: (usize, usize, usize), w: &[f32], y: &mut [f32]) {
    match level {
        // SAFETY: `level` has asked the processor.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::few_rows_transposed(x, size, w, y) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::few_rows_transposed(x, size, w, y) },
        _ => {
            let (x, w) = (View::rows(x, size.1), View::rows(w, size.1).transposed());
            multiply(size, y, size.2, x, w, Write::Set, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of kernel against the sum in double precision, at sizes with and without whole tiles.
    #[test]
    fn products_of_few_rows_are_products() {
        let number = |i: usize| ((i * 2_654_435_761) % 1_000) as f32 / 500.0 - 1.0;
        let mut levels = vec![Level::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend((level() >= Level::Avx2).then_some(Level::Avx2));
            levels.extend((level() >= Level::Avx512).then_some(Level::Avx512));
        }
        for (m, k, n) in [(1, 1, 1), (3, 7, 5), (8, 64, 96), (9, 33, 70), (16, 100, 131)] {
            let x: Vec<f32> = (0..m * k).map(number).collect();
            let w: Vec<f32> = (0..k * n).map(|i| number(i + 77)).collect();
            let y: Vec<f32> = (0..m * n).map(|i| number(i + 5)).collect();
            let exact = |start: &dyn Fn(usize) -> f32, w: &dyn Fn(usize, usize) -> f32| -> Vec<f64> {
                let sum = |r: usize, c: usize| -> f64 {
                    (0..k).map(|at| f64::from(x[r * k + at]) * f64::from(w(at, c))).sum()
                };
                (0..m * n).map(|i| f64::from(start(i)) + sum(i / n, i % n)).collect()
            };
            let check = |found: &[f32], exact: &[f64], what: &str| {
                for (a, b) in found.iter().zip(exact) {
                    assert!((f64::from(*a) - b).abs() < 1e-5 * (1.0 + b.abs()), "{what} [{m}, {k}, {n}]: {a} {b}");
                }
            };
            for level in &levels {
                let mut sum = y.clone();
                few_rows(*level, &x, (m, k, n), &w, n, &mut sum);
                check(&sum, &exact(&|i| y[i], &|at, c| w[at * n + c]), &format!("{level:?}"));
                let mut product = vec![0.0; m * n];
                few_rows_transposed(*level, &x, (m, k, n), &w, &mut product);
                check(&product, &exact(&|_| 0.0, &|at, c| w[c * k + at]), &format!("{level:?} transposed"));
            }
            let mut sum = y.clone();
            add_product(&x, &w, (m, k, n), &mut sum);
            check(&sum, &exact(&|i| y[i], &|at, c| w[at * n + c]), "in tasks");
            check(&product_transposed(&x, &w, (m, k, n)), &exact(&|_| 0.0, &|at, c| w[c * k + at]), "in tasks");
        }
    }
}
