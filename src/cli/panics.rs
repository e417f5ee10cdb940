//! A panic of any worker ends the process: what goes on without it would look alive.

use std::io::Write as _;

/// From now on.
pub fn end_the_process() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        tracing::error!(place, "a worker panicked; the process ends");
        let _ = writeln!(
            std::io::stderr(),
            "trevor: internal error at {place}; please report it"
        );
        std::process::exit(101);
    }));
}
