//! `--filter`: names of classes, kinds, and of what is no message.

use super::protocol::Filter;
use crate::exit::Exit;
use clap::ValueEnum;
use samara_dataplane::tap::TapFilter;
use samara_types::{Class, MessageKind};

/// One direction.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectionArg {
    /// Received datagrams.
    In,
    /// Sent datagrams.
    Out,
}

/// The filter of these names; everything if there are none.
pub fn parse(names: &[String], direction: Option<DirectionArg>) -> Result<Filter, Exit> {
    let mut kinds = if names.is_empty() { u64::MAX } else { 0 };
    for name in names {
        kinds |= bits(name).ok_or_else(|| Exit::bad("--filter", name, allowed()))?;
    }
    Ok(Filter { kinds, received: direction != Some(DirectionArg::Out), sent: direction != Some(DirectionArg::In) })
}

fn bits(name: &str) -> Option<u64> {
    let class = || Class::ALL.into_iter().find(|class| class.as_str() == name).map(TapFilter::class);
    let kind = || MessageKind::ALL.iter().find(|kind| kind.as_str() == name).map(|kind| TapFilter::kind(*kind));
    match name {
        "session" => Some(TapFilter::SESSION),
        "dropped" => Some(TapFilter::DROPPED),
        _ => class().or_else(kind),
    }
}

fn allowed() -> String {
    let classes = Class::ALL.into_iter().map(Class::as_str);
    let kinds = MessageKind::ALL.iter().map(|kind| kind.as_str());
    classes.chain(kinds).chain(["session", "dropped"]).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn classes_kinds_and_the_rest_select_their_bits_and_nothing_else() {
        let kinds = |of: &[&str]| parse(&names(of), None).unwrap().kinds;
        assert_eq!(kinds(&[]), u64::MAX);
        assert_eq!(kinds(&["critical"]), 0b1110);
        assert_eq!(kinds(&["vote", "shred", "session"]), 1 << 1 | 1 << 32 | 1);
        assert_eq!(kinds(&["normal"]), 1 << 32 | 1 << 33);
        assert_eq!(kinds(&["dropped"]), 1 << 63);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let exit = parse(&names(&["votes"]), None).unwrap_err();
        assert!(exit.code() == 2 && exit.to_string().contains("--filter = votes") && exit.to_string().contains("repair_shred"), "{exit}");
    }

    #[test]
    fn a_direction_leaves_the_other_out() {
        let both = |direction| parse(&[], direction).map(|filter| (filter.received, filter.sent)).unwrap();
        assert_eq!([both(None), both(Some(DirectionArg::In)), both(Some(DirectionArg::Out))], [(true, true), (true, false), (false, true)]);
    }
}
