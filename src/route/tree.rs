use http::Method;

use super::pattern::PatternSegment;
use super::target::{Segment, Target, is_canonical, split};

/// The patterns of a table as a tree of segments. A rule is an index.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Sorted by length, then by text: most comparisons then stop at the length.
    literals: Vec<(Box<str>, Node)>,
    parameter: Option<Box<Node>>,
    rest: Rules,
    here: Rules,
}

/// The rules of one pattern, one per method; empty if the table does not have the pattern.
pub(super) type Rules = Vec<(Method, usize)>;

/// The result for an ambiguous path: no rules.
static AMBIGUOUS: Rules = Vec::new();

impl Node {
    /// The rules of a pattern, to add to.
    pub(super) fn rules_mut(&mut self, pattern: &[PatternSegment<'_>]) -> &mut Rules {
        let Some((first, others)) = pattern.split_first() else { return &mut self.here };
        match first {
            PatternSegment::Rest => &mut self.rest,
            PatternSegment::Parameter => self.parameter.get_or_insert_default().rules_mut(others),
            PatternSegment::Literal(text) => {
                let index = match self.literal(text.as_bytes()) {
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

    /// The rules of the most specific pattern that matches, or none if it is ambiguous. Visits a node at most once.
    #[inline]
    pub(super) fn find(&self, target: &Target<'_>) -> Option<&Rules> {
        match target.route {
            "" => self.find_path(target.path.as_bytes(), target.is_lenient),
            _ => self.find_route(target),
        }
    }

    fn find_route(&self, target: &Target<'_>) -> Option<&Rules> {
        let mut target = *target;
        match target.next_of_route() {
            Some(Segment::Literal(text)) => self.child(text)?.find(&target),
            Some(Segment::Parameter) => self.parameter.as_ref()?.find(&target),
            Some(Segment::Rest) => non_empty(&self.rest),
            None => self.find(&target),
        }
    }

    /// Like `find`, if only a path is left: in bytes, which can be cut anywhere.
    fn find_path(&self, path: &[u8], is_lenient: bool) -> Option<&Rules> {
        let Some(text) = path.strip_prefix(b"/") else { return non_empty(&self.here) };
        let literal =
            self.literal_at_start(text).and_then(|(node, further)| node.find_path(further, is_lenient));
        if literal.is_some() {
            return literal;
        }
        let (segment, further, is_plain) = split(text);
        if !is_lenient {
            // Some routers ignore an empty last segment, and the remaining path could have stricter rules.
            if segment.is_empty() {
                return None;
            }
            if !is_plain {
                return Some(&AMBIGUOUS);
            }
        }
        // Neither a parameter nor a rest matches a trailing slash, though axum lets a parameter match an empty
        // segment in the middle.
        if text.is_empty() {
            return None;
        }
        let parameter = self.parameter.as_ref().and_then(|node| node.find_path(further, is_lenient));
        parameter.or_else(|| {
            let rest = non_empty(&self.rest)?;
            // A path with a trailing slash may or may not belong to the rest, so no less specific pattern may be
            // used.
            let is_ambiguous = !is_lenient && (path.ends_with(b"/") || !is_canonical(path));
            Some(if is_ambiguous { &AMBIGUOUS } else { rest })
        })
    }

    /// The node of the literal that is the first segment of `text`, and what follows that segment.
    #[inline]
    fn literal_at_start<'p>(&self, text: &'p [u8]) -> Option<(&Self, &'p [u8])> {
        // Few nodes have more. Most literals differ in length, which is seen without looking for the segment's end.
        if self.literals.len() <= 16 {
            return self.literals.iter().find_map(|(literal, node)| {
                let (segment, further) = text.split_at_checked(literal.len())?;
                let is_whole = matches!(further, [] | [b'/', ..]);
                (is_whole && segment == literal.as_bytes()).then_some((node, further))
            });
        }
        let (segment, further, _) = split(text);
        Some((&self.literals[self.literal(segment).ok()?].1, further))
    }

    fn child(&self, text: &str) -> Option<&Self> {
        Some(&self.literals[self.literal(text.as_bytes()).ok()?].1)
    }

    fn literal(&self, text: &[u8]) -> Result<usize, usize> {
        self.literals
            .binary_search_by(|(literal, _)| (literal.len(), literal.as_bytes()).cmp(&(text.len(), text)))
    }

    /// The node for a router's pattern.
    pub(super) fn descend(&self, mut pattern: Target<'_>) -> Option<&Self> {
        match pattern.next_of_route() {
            None => Some(self),
            Some(Segment::Literal(text)) => self.child(text)?.descend(pattern),
            Some(Segment::Parameter) => self.parameter.as_ref()?.descend(pattern),
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
