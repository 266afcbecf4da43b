//! Axes, running means, and plots without data.

use super::plots::*;
use crate::results::Results;

#[test]
fn spans_are_never_empty_and_ticks_are_short() {
    assert_eq!(span([].into_iter()), 0.0..1.0);
    let one = span([2.0, 2.0, f64::NAN].into_iter());
    assert!(one.start < 2.0 && one.end > 2.0);
    assert_eq!((tick(&0.5), tick(&-0.0), tick(&100.0)), ("0.5".into(), "0".into(), "100".into()));
}

#[test]
fn smoothing_keeps_lines_straight() {
    let points: Points = (0..100).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
    let smoothed = smooth(&points);
    assert_eq!(smoothed.len(), 96);
    for (a, b) in smoothed.iter().zip(&points[2..]) {
        assert!((a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9);
    }
    assert_eq!(smooth(&points[..3]), points[..3]);
    assert!(smooth(&[]).is_empty());
}

/// The window once shrank to one point: the thick line of figure 2 ended on the last update, however far off that
/// was.
#[test]
fn a_running_mean_does_not_end_on_one_noisy_update() {
    let mut points: Points = (0..200).map(|i| (f64::from(i), 1.0)).collect();
    (points[0].1, points[199].1) = (-10.0, 12.0);
    let smoothed = smooth(&points);
    // Eleven points each.
    assert_eq!((smoothed.first(), smoothed.last()), (Some(&(5.0, 0.0)), Some(&(194.0, 2.0))));
}

#[test]
fn without_data_nothing_is_drawn() {
    for plot in ALL {
        assert!((plot.draw)(&Results::default()).unwrap().is_none());
    }
}
