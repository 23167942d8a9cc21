//! Paths in a directed graph: call chains of the driver (`check_sys`), imports between modules
//! (`check_tree`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The shortest path of at least one edge from `from` to `to`; both ends are in it.
pub fn path<N, I>(from: &N, to: &N, next: impl Fn(&N) -> I) -> Option<Vec<N>>
where
    N: Ord + Clone,
    I: IntoIterator<Item = N>,
{
    let mut came_from: BTreeMap<N, N> = BTreeMap::new();
    let mut waiting = VecDeque::from([from.clone()]);
    while let Some(here) = waiting.pop_front() {
        for node in next(&here) {
            if came_from.contains_key(&node) {
                continue;
            }
            came_from.insert(node.clone(), here.clone());
            if node == *to {
                let mut path = vec![node];
                while path.len() == 1 || path.last() != Some(from) {
                    path.push(came_from.get(path.last()?)?.clone());
                }
                path.reverse();
                return Some(path);
            }
            waiting.push_back(node);
        }
    }
    None
}

/// Every node that a path leads to from `from`, which is one of them.
pub fn reached<N, I>(from: N, next: impl Fn(&N) -> I) -> BTreeSet<N>
where
    N: Ord + Clone,
    I: IntoIterator<Item = N>,
{
    let mut reached = BTreeSet::from([from.clone()]);
    let mut waiting = vec![from];
    while let Some(here) = waiting.pop() {
        waiting.extend(next(&here).into_iter().filter(|node| reached.insert(node.clone())));
    }
    reached
}
