//! What this machine turns out to have, and functions compiled for each of it.
#![allow(unsafe_code)]

use super::instructions::Instructions;

impl Instructions {
    /// The best that models which are opened now will use.
    pub fn in_use() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if Avx512::detect().is_some() {
                return Self::Avx512;
            }
            if Avx2::detect().is_some() {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }
}

/// What is compiled for the instructions of the machine that does it. All of it must be
/// `#[inline(always)]`: what is not is compiled for the baseline.
pub trait Work {
    fn run(self);
}

/// Proof that this machine has AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// What the machine says; it is asked once.
    #[inline]
    pub fn detect() -> Option<Self> {
        let has_it = Instructions::Avx512.may_be_used()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && Avx2::detect().is_some();
        has_it.then_some(Self(()))
    }

    /// Does the work, compiled for these instructions.
    pub fn run(self, work: impl Work) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn compiled(work: impl Work) {
            work.run();
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(work) }
    }
}

/// Proof that this machine has AVX-512 with its instructions for products of bytes (VNNI).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Vnni(());

#[cfg(target_arch = "x86_64")]
impl Vnni {
    /// What the machine says; it is asked once.
    #[inline]
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512vnni") && Avx512::detect().is_some()).then_some(Self(()))
    }
}

/// Proof that this machine has AVX2 and fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// What the machine says; it is asked once.
    #[inline]
    pub fn detect() -> Option<Self> {
        let has_it =
            Instructions::Avx2.may_be_used() && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has_it.then_some(Self(()))
    }

    /// Does the work, compiled for these instructions.
    pub fn run(self, work: impl Work) {
        #[target_feature(enable = "avx2,fma")]
        fn compiled(work: impl Work) {
            work.run();
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(work) }
    }
}

/// Asks for a number's cache line, which will be needed soon.
#[inline(always)]
pub(super) fn prefetch(number: &f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has this instruction, which only hints.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(number).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = number;
}

/// Defines a function over slices that is compiled for AVX-512, for AVX2 and for the baseline; each
/// call takes the best that this machine has. What it calls must be `#[inline(always)]` to be
/// compiled along.
///
/// It may have one parameter `const L: usize`.
#[macro_export]
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<const $constant:ident: usize>)? ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $visibility fn $name $(<const $constant: usize>)? ($($argument: $type),*) {
            #[inline(always)]
            fn portable $(<const $constant: usize>)? ($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512 $(<const $constant: usize>)? ($($argument: $type),*) {
                    portable $(::<$constant>)? ($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<const $constant: usize>)? ($($argument: $type),*) {
                    portable $(::<$constant>)? ($($argument),*)
                }
                if $crate::Avx512::detect().is_some() {
                    // SAFETY: the machine has just said that it has these instructions.
                    return unsafe { avx512 $(::<$constant>)? ($($argument),*) };
                }
                if $crate::Avx2::detect().is_some() {
                    // SAFETY: as above.
                    return unsafe { avx2 $(::<$constant>)? ($($argument),*) };
                }
            }
            portable $(::<$constant>)? ($($argument),*)
        }
    };
}

/// Does a check, generic over the kind of machine, on each that this one can stand for beside the
/// portable one: for tests.
#[macro_export]
macro_rules! machines {
    ($check:ident) => {
        #[cfg(target_arch = "x86_64")]
        {
            $crate::Avx2::detect().into_iter().for_each($check);
            $crate::Avx512::detect().into_iter().for_each($check);
            $crate::Vnni::detect().into_iter().for_each($check);
        }
    };
}
