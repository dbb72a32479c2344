//! Level 6: was the application back within its recovery time objective?

use crate::api::Duration;
use crate::facts::{Brief, Facts, Status};
use crate::judge::level::{Level, max_rto, seconds, weight::RTO_COMPLIANCE};

/// Name of what is tested, in `tested` and `notTested`.
const TARGET: &str = "sla.maxRTO";

/// Judges the time. `recovered`: the restore, the pods and every critical check came to a good end.
pub fn judge(brief: &Brief, facts: &Facts, recovered: bool) -> Level {
    let Some(written) = max_rto(brief) else {
        return Level::skip("No recovery time objective: spec.sla.maxRTO is not set");
    };
    let (Some(_), Some(elapsed)) = (&facts.restore, facts.elapsed) else {
        return Level::skip("Skipped: no restore was made").not_tested(vec![TARGET.to_owned()]);
    };
    let (measured, target) = (seconds(elapsed), written.time().0);
    let words = format!("{} measured against {written} target", Duration::from(measured));
    if measured > target {
        let over = Duration::from(measured.saturating_sub(target));
        return Level::fail(0, format!("{words} — exceeded by {over}")).tested(vec![TARGET.to_owned()]);
    }
    if !recovered {
        let detail = format!(
            "Skipped: recovery was not reached, {} after the restore began",
            Duration::from(measured)
        );
        return Level::skip(detail).not_tested(vec![TARGET.to_owned()]);
    }
    Level::pass(RTO_COMPLIANCE, words).tested(vec![TARGET.to_owned()])
}

/// Was recovery reached? Checks that are not critical do not keep an application from being back.
pub fn recovered(facts: &Facts, integrity: Status, startup: Status, critical_missed: bool) -> bool {
    facts.stop.is_none() && integrity == Status::Pass && startup == Status::Pass && !critical_missed
}
