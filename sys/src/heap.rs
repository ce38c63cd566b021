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

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_env = "gnu")]
    fn the_c_library_takes_it() {
        assert!(super::share_heaps(2));
    }
}
