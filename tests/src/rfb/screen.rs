//! The picture a viewer has put together.

use std::collections::HashSet;

use anyhow::{Context as _, ensure};

/// Bytes of a pixel: the only format asked of servers.
pub(super) const PIXEL_BYTES: usize = 4;
/// Every so many pixels one is looked at. Prime, so that no pattern of a
/// screen's width hides from it.
const SAMPLE_EVERY: usize = 61;

/// A screen of 32-bit pixels.
#[derive(Clone, Debug)]
pub struct Screen {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// A rectangle on a screen, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Screen {
    pub(super) fn new(width: u16, height: u16) -> Self {
        let (width, height) = (usize::from(width), usize::from(height));
        Self { width, height, pixels: vec![0; width * height * PIXEL_BYTES] }
    }

    /// Width and height, pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Takes over raw pixels, row by row.
    pub(super) fn put(&mut self, area: Area, pixels: &[u8]) -> anyhow::Result<()> {
        ensure!(
            area.x + area.width <= self.width && area.y + area.height <= self.height,
            "{area:?} is not on a screen of {}x{}",
            self.width,
            self.height
        );
        let row_bytes = area.width * PIXEL_BYTES;
        if row_bytes == 0 {
            return Ok(());
        }
        ensure!(pixels.len() == row_bytes * area.height, "pixels do not fill {area:?}");
        for (row, source) in pixels.chunks_exact(row_bytes).enumerate() {
            let begin = ((area.y + row) * self.width + area.x) * PIXEL_BYTES;
            let target = self.pixels.get_mut(begin..begin + row_bytes);
            target.context("a row beyond the screen")?.copy_from_slice(source);
        }
        Ok(())
    }

    /// Different colours among a sample of the pixels. The fourth byte is
    /// padding.
    pub fn sampled_colours(&self) -> usize {
        let sampled = self.pixels.chunks_exact(PIXEL_BYTES).step_by(SAMPLE_EVERY);
        sampled.map(|pixel| &pixel[..3]).collect::<HashSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(x: usize, y: usize, width: usize, height: usize) -> Area {
        Area { x, y, width, height }
    }

    #[test]
    fn a_patch_lands_where_it_belongs() {
        let mut screen = Screen::new(4, 3);
        screen.put(area(1, 1, 2, 2), &[9; 16]).unwrap();
        let nines: Vec<usize> =
            (0..12).filter(|pixel| screen.pixels[pixel * PIXEL_BYTES] == 9).collect();
        assert_eq!(nines, [5, 6, 9, 10]);
    }

    #[test]
    fn what_is_not_on_the_screen_is_refused() {
        let mut screen = Screen::new(4, 3);
        assert!(screen.put(area(3, 0, 2, 1), &[0; 8]).is_err());
        assert!(screen.put(area(0, 0, 1, 1), &[0; 8]).is_err());
        screen.put(area(4, 3, 0, 0), &[]).unwrap();
    }

    #[test]
    fn colours_are_counted_in_the_sample_without_padding() {
        let mut screen = Screen::new(61, 3);
        assert_eq!(screen.sampled_colours(), 1);
        screen.put(area(0, 1, 1, 1), &[1, 2, 3, 0]).unwrap();
        screen.put(area(0, 2, 1, 1), &[1, 2, 3, 255]).unwrap();
        screen.put(area(1, 2, 1, 1), &[7, 7, 7, 0]).unwrap();
        assert_eq!(screen.sampled_colours(), 2);
    }
}
