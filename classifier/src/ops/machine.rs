//! What needs `unsafe`, and nothing else: the matrix product of the `gemm` crate behind checked bounds, and loops compiled
//! for the vector instructions that this machine turns out to have.
#![allow(unsafe_code)]

use gemm::Parallelism;

/// A view of a matrix in a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that start every `row_stride` values.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Where a product goes: a row-major matrix whose rows start every `row_stride` values.
pub(super) struct Output<'a> {
    pub values: &'a mut [f32],
    pub row_stride: usize,
    /// Whether the product is added to what is there, or replaces it.
    pub add: bool,
}

/// `factor · left · right`, on this thread.
pub(super) fn multiply(factor: f32, left: Matrix, right: Matrix, output: Output) {
    let (rows, columns, depth) = (left.rows, right.columns, left.columns);
    assert_eq!(depth, right.rows, "inner sizes of a product");
    assert!(columns <= output.row_stride, "rows of a product overlap");
    for (length, needed) in [
        (left.values.len(), span(rows, left.row_stride, depth, left.column_stride)),
        (right.values.len(), span(depth, right.row_stride, columns, right.column_stride)),
        (output.values.len(), span(rows, output.row_stride, columns, 1)),
    ] {
        assert!(needed <= length, "a matrix of {needed} values in a slice of {length}");
    }
    // SAFETY: the assertions above hold every index `row * row_stride + column * column_stride` of the three matrices
    // inside their slices, and the output is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            output.values.as_mut_ptr(),
            1,
            output.row_stride as isize,
            output.add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// One past the last value that a matrix touches.
fn span(rows: usize, row_stride: usize, columns: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    (rows - 1) * row_stride + (columns - 1) * column_stride + 1
}

/// Defines a function over slices that is compiled for AVX-512, for AVX2 and for the baseline; each call takes the best that
/// this machine has. What it calls must be `#[inline(always)]` to be compiled along.
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $visibility fn $name($($argument: $type),*) {
            #[inline(always)]
            fn portable($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($argument: $type),*) {
                    portable($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) {
                    portable($($argument),*)
                }
                if $crate::ops::machine::has_avx512() {
                    // SAFETY: the machine has just said that it has these instructions.
                    return unsafe { avx512($($argument),*) };
                }
                if $crate::ops::machine::has_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            portable($($argument),*)
        }
    };
}
pub(super) use vectorised;

#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && has_avx2()
}

#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}
