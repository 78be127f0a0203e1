use http::Method;

use super::pattern::PatternSegment;
use super::target::{Segment, Target};

/// The patterns of a table as a tree of segments. A rule is a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Sorted by length, then by text: most comparisons then end at the length.
    literals: Vec<(Box<str>, Node)>,
    parameter: Option<Box<Node>>,
    rest: Rules,
    here: Rules,
}

/// The rules of one pattern, one a method; none if the table does not have the pattern.
pub(super) type Rules = Vec<(Method, usize)>;

/// Stands for rules where there can't be any.
static AMBIGUOUS: Rules = Vec::new();

impl Node {
    /// The rules of a pattern, to add to.
    pub(super) fn rules_mut(&mut self, pattern: &[PatternSegment<'_>]) -> &mut Rules {
        let Some((first, others)) = pattern.split_first() else { return &mut self.here };
        match first {
            PatternSegment::Rest => &mut self.rest,
            PatternSegment::Parameter => self.parameter.get_or_insert_default().rules_mut(others),
            PatternSegment::Literal(text) => {
                let index = match self.literal(text) {
                    Ok(index) => index,
                    Err(index) => {
                        self.literals.insert(index, ((*text).into(), Self::default()));
                        index
                    }
                };
                self.literals[index].1.rules_mut(others)
            }
        }
    }

    /// The same tree with `prefix` before every pattern.
    pub(super) fn under(self, prefix: &[PatternSegment<'_>]) -> Self {
        prefix.iter().rev().fold(self, |node, segment| match segment {
            PatternSegment::Literal(text) => {
                Self { literals: vec![((*text).into(), node)], ..Self::default() }
            }
            PatternSegment::Parameter | PatternSegment::Rest => {
                Self { parameter: Some(Box::new(node)), ..Self::default() }
            }
        })
    }

    /// The rules of the most specific pattern that matches, or none if it can't be told which does. Visits a node at
    /// most once.
    pub(super) fn find(&self, target: Target<'_>) -> Option<&Rules> {
        let mut further = target;
        let Some(segment) = further.next() else { return non_empty(&self.here) };
        match segment {
            Segment::Literal(text) => self.find_literal(text, further),
            Segment::Parameter => self.parameter.as_ref()?.find(further),
            Segment::Rest => non_empty(&self.rest),
            // An empty last segment could also be read away, and what is left could have stricter rules.
            Segment::Text("") if !target.is_lenient() => self.find_literal("", further),
            Segment::Text(text) => self
                .find_literal(text, further)
                .or_else(|| self.parameter.as_ref().filter(|_| !target.is_root())?.find(further))
                .or_else(|| self.find_rest(target)),
        }
    }

    /// A path with a slash at its end may or may not be below the rest, so nothing less specific may be found for it.
    fn find_rest(&self, target: Target<'_>) -> Option<&Rules> {
        let rest = non_empty(&self.rest)?;
        match target.ends_in_slash() {
            true if target.is_root() => None,
            true if !target.is_lenient() => Some(&AMBIGUOUS),
            _ => Some(rest),
        }
    }

    fn find_literal(&self, text: &str, further: Target<'_>) -> Option<&Rules> {
        self.literals[self.literal(text).ok()?].1.find(further)
    }

    fn literal(&self, text: &str) -> Result<usize, usize> {
        self.literals.binary_search_by(|(literal, _)| (literal.len(), &**literal).cmp(&(text.len(), text)))
    }

    /// The node that a route leads to.
    pub(super) fn descend(&self, mut target: Target<'_>) -> Option<&Self> {
        match target.next() {
            None => Some(self),
            Some(Segment::Literal(text) | Segment::Text(text)) => {
                self.literals[self.literal(text).ok()?].1.descend(target)
            }
            Some(Segment::Parameter) => self.parameter.as_ref()?.descend(target),
            Some(Segment::Rest) => None,
        }
    }

    /// Calls `f` with every rule in the tree.
    pub(super) fn for_each(&self, f: &mut impl FnMut(usize)) {
        self.here.iter().chain(&self.rest).for_each(|(_, rule)| f(*rule));
        self.literals
            .iter()
            .map(|(_, node)| node)
            .chain(self.parameter.as_deref())
            .for_each(|node| node.for_each(f));
    }
}

fn non_empty(rules: &Rules) -> Option<&Rules> {
    (!rules.is_empty()).then_some(rules)
}
