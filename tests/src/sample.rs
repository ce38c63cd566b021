//! Measured values and what is said about them.

use std::time::Duration;

/// Values of one kind, in the order they were measured.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Adds a value.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a time, in milliseconds.
    pub fn push_time(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1e3);
    }

    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that half of all reach or stay below. None of nothing.
    pub fn median(&self) -> Option<f64> {
        self.percentile(50)
    }

    /// The smallest value that `percent` in a hundred reach or stay below
    /// (nearest rank). None of nothing.
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// The smallest and the largest value. None of nothing.
    pub fn range(&self) -> Option<(f64, f64)> {
        Some((self.percentile(0)?, self.percentile(100)?))
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut sample = Self::default();
        times.into_iter().for_each(|time| sample.push_time(time));
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_ranks() {
        let sample: Sample = (1..=20).rev().map(f64::from).collect();
        assert_eq!(sample.median(), Some(10.0));
        assert_eq!(sample.percentile(95), Some(19.0));
        assert_eq!(sample.range(), Some((1.0, 20.0)));
    }

    #[test]
    fn one_value_is_all_of_them_and_none_is_none() {
        let one: Sample = [Duration::from_millis(7)].into_iter().collect();
        assert_eq!((one.median(), one.percentile(95)), (Some(7.0), Some(7.0)));
        let none = Sample::default();
        assert_eq!((none.median(), none.range()), (None, None));
    }
}
