//! The C library's heap.

/// Lets threads share at most `most` heaps; each that there is grows by itself
/// and keeps what it once had. glibc's own choice is eight for each processor
/// (`mallopt(3)`, `M_ARENA_MAX`), which in a daemon with many short-lived threads
/// and thousands of small tasks costs more memory than it saves time.
///
/// False if the C library knows no such thing, or refuses the number. Threads that
/// have run already keep their heaps.
pub fn share_heaps(most: u16) -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt(3) may be called at any time by any thread; it only
        // stores the number.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::from(most)) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _unknown = most;
        false
    }
}

/// Maps blocks of at least `bytes` for themselves, so that they are given back as
/// soon as they are freed. glibc begins so, but with each such block that is freed
/// takes the next ones of its size from the heaps, which then keep them
/// (`mallopt(3)`, `M_MMAP_THRESHOLD`): memory that a moment's work needed stays.
///
/// False if the C library knows no such thing, or refuses the size.
pub fn map_large_blocks(bytes: u32) -> bool {
    #[cfg(target_env = "gnu")]
    {
        let Ok(bytes) = i32::try_from(bytes) else { return false };
        // SAFETY: as above.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _unknown = bytes;
        false
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_env = "gnu")]
    fn the_c_library_takes_it() {
        assert!(super::share_heaps(2));
        assert!(super::map_large_blocks(1 << 20));
        assert!(!super::map_large_blocks(u32::MAX));
    }
}
