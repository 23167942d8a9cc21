//! Who calls whom in an x64 image, from its instructions: direct calls, and jumps from one function
//! into another.
//!
//! The rule: what is not decoded is an error, not an edge that is missing. Calls through pointers
//! (callbacks, the framework's table, imports) lead to code that is not looked at; they are no
//! edges. Which imports a function uses shows in the addresses that it names.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};
use object::LittleEndian as LE;
use object::pe::IMAGE_SCN_MEM_EXECUTE;
use object::read::pe::PeFile64;

use crate::graph;

use super::unwind::{self, Fragment, RETURN_ADDRESS};

/// A function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    /// Stack that it takes, in bytes, with the return address.
    pub stack: u32,
    /// What it calls.
    pub calls: BTreeSet<u32>,
    /// Where it goes on instead of returning.
    pub jumps: BTreeSet<u32>,
    /// The addresses of data that it names.
    pub names: BTreeSet<u32>,
}

/// All functions by address, as far as anything shows that they are there.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    functions: BTreeMap<u32, Function>,
}

/// Functions that are on the stack at the same time, the caller first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Their stacks together, in bytes.
    pub stack: u32,
    /// Their addresses.
    pub functions: Vec<u32>,
}

impl Graph {
    /// Reads an image's code.
    pub fn read(file: &PeFile64<'_>, bytes: &[u8]) -> Result<Self, String> {
        let fragments = unwind::fragments(file, bytes)?;
        let mut reader = Reader { code: Code { file, bytes }, fragments, graph: Self::default() };
        reader.read_fragments()?;
        reader.read_leaves()?;
        Ok(reader.graph)
    }

    /// The functions.
    pub fn functions(&self) -> &BTreeMap<u32, Function> {
        &self.functions
    }

    /// Who calls a function, or jumps into it.
    pub fn callers_of(&self, callee: u32) -> impl Iterator<Item = u32> {
        let calls = move |function: &Function| {
            function.calls.contains(&callee) || function.jumps.contains(&callee)
        };
        self.functions.iter().filter(move |(_, f)| calls(f)).map(|(rva, _)| *rva)
    }

    /// A function that is called by what it calls, as the way around; a circle of jumps takes no
    /// stack and is none.
    pub fn recursion(&self) -> Option<Vec<u32>> {
        self.functions.iter().find_map(|(&caller, function)| {
            function.calls.iter().find_map(|&callee| self.way(callee, caller))
        })
    }

    /// The chain of direct calls that takes the most stack; `None` if there is recursion, or no
    /// function.
    pub fn deepest(&self) -> Option<Chain> {
        if self.recursion().is_some() {
            return None;
        }
        let mut known = BTreeMap::new();
        let chains = self.functions.keys().map(|&rva| self.chain_from(rva, &mut known));
        chains.max_by_key(|chain| chain.stack)
    }

    /// The same, of the chains that begin with one function.
    pub fn deepest_from(&self, rva: u32) -> Option<Chain> {
        if self.recursion().is_some() || !self.functions.contains_key(&rva) {
            return None;
        }
        Some(self.chain_from(rva, &mut BTreeMap::new()))
    }

    fn chain_from(&self, rva: u32, known: &mut BTreeMap<u32, Chain>) -> Chain {
        if let Some(chain) = known.get(&rva) {
            return chain.clone();
        }
        let Some(function) = self.functions.get(&rva) else { return Chain::default() };
        // A circle of jumps ends here.
        known.insert(rva, Chain { stack: function.stack, functions: vec![rva] });
        let deepest = |targets: &BTreeSet<u32>, known: &mut BTreeMap<u32, Chain>| {
            let chains = targets.iter().map(|&target| self.chain_from(target, known));
            chains.max_by_key(|chain| chain.stack).unwrap_or_default()
        };
        let called = deepest(&function.calls, known);
        let mut own = Chain { stack: function.stack + called.stack, functions: vec![rva] };
        own.functions.extend(called.functions);
        // Before it jumps, a function gives its stack back.
        let instead = deepest(&function.jumps, known);
        if instead.stack > own.stack {
            own = instead;
        }
        known.insert(rva, own.clone());
        own
    }

    /// All functions that one function leads to; it is one of them.
    pub fn reached_from(&self, rva: u32) -> BTreeSet<u32> {
        graph::reached(rva, |here| self.next(*here))
    }

    /// The shortest way from one function to another.
    pub fn way(&self, from: u32, to: u32) -> Option<Vec<u32>> {
        if from == to {
            return Some(vec![to]);
        }
        graph::path(&from, &to, |here| self.next(*here))
    }

    /// What a function calls or jumps to.
    fn next(&self, rva: u32) -> Vec<u32> {
        let function = self.functions.get(&rva);
        function.into_iter().flat_map(|it| it.calls.iter().chain(&it.jumps).copied()).collect()
    }

    /// A graph that is known already.
    #[cfg(test)]
    pub fn of(functions: impl IntoIterator<Item = (u32, Function)>) -> Self {
        Self { functions: functions.into_iter().collect() }
    }
}

struct Code<'a> {
    file: &'a PeFile64<'a>,
    bytes: &'a [u8],
}

impl<'a> Code<'a> {
    /// The executable bytes from an address to the end of its section.
    fn at(&self, rva: u32) -> Result<&'a [u8], String> {
        let sections = self.file.section_table();
        let section = sections.iter().find(|section| {
            let begin = section.virtual_address.get(LE);
            let len = section.virtual_size.get(LE);
            rva.checked_sub(begin).is_some_and(|offset| offset < len)
                && section.characteristics.get(LE) & IMAGE_SCN_MEM_EXECUTE != 0
        });
        let data = section.and_then(|section| section.pe_data_at(self.bytes, rva));
        data.ok_or_else(|| format!("there is no code at {rva:#x}"))
    }
}

struct Reader<'a> {
    code: Code<'a>,
    fragments: Vec<Fragment>,
    graph: Graph,
}

impl Reader<'_> {
    fn read_fragments(&mut self) -> Result<(), String> {
        for fragment in self.fragments.clone() {
            let code = self.code.at(fragment.begin)?;
            let len = (fragment.end - fragment.begin) as usize;
            let code = code.get(..len).ok_or("a function reaches past its section")?;
            let mut decoder = decoder(code, fragment.begin);
            while decoder.can_decode() {
                let instruction = decode(&mut decoder)?;
                self.note(fragment.function, &instruction);
            }
            let function = self.graph.functions.entry(fragment.function).or_default();
            function.stack = function.stack.max(fragment.stack);
        }
        Ok(())
    }

    /// Functions without an entry: only that something calls them shows that they are there.
    fn read_leaves(&mut self) -> Result<(), String> {
        loop {
            let functions = self.graph.functions.values();
            let targets =
                functions.flat_map(|function| function.calls.iter().chain(&function.jumps));
            let unknown = |target: &&u32| !self.graph.functions.contains_key(target);
            let Some(&leaf) = targets.clone().find(unknown) else { return Ok(()) };
            self.graph
                .functions
                .insert(leaf, Function { stack: RETURN_ADDRESS, ..Function::default() });
            self.read_leaf(leaf)?;
        }
    }

    fn read_leaf(&mut self, leaf: u32) -> Result<(), String> {
        let mut decoder = decoder(self.code.at(leaf)?, leaf);
        // It goes on behind a return if something jumps there.
        let mut end = leaf;
        while decoder.can_decode() {
            let instruction = decode(&mut decoder)?;
            let flow = instruction.flow_control();
            if let Some(target) = direct_target(&instruction)
                && flow == FlowControl::ConditionalBranch
            {
                end = end.max(target);
            }
            let ends = matches!(
                flow,
                FlowControl::Return
                    | FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Interrupt
                    | FlowControl::Exception
            );
            let is_inside =
                direct_target(&instruction).is_some_and(|target| (leaf..=end).contains(&target));
            if !is_inside {
                self.note(leaf, &instruction);
            }
            if ends && instruction.next_ip32() > end {
                break;
            }
        }
        Ok(())
    }

    /// Notes where an instruction leads out of its function.
    fn note(&mut self, from: u32, instruction: &Instruction) {
        if instruction.is_ip_rel_memory_operand()
            && let Ok(address) = u32::try_from(instruction.ip_rel_memory_address())
        {
            self.graph.functions.entry(from).or_default().names.insert(address);
        }
        let Some(target) = direct_target(instruction) else { return };
        let to = self.function_of(target).unwrap_or(target);
        let function = self.graph.functions.entry(from).or_default();
        match instruction.flow_control() {
            FlowControl::Call => {
                function.calls.insert(to);
            }
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch if to != from => {
                function.jumps.insert(to);
            }
            _ => {}
        }
    }

    fn function_of(&self, rva: u32) -> Option<u32> {
        let inside = |fragment: &&Fragment| (fragment.begin..fragment.end).contains(&rva);
        self.fragments.iter().find(inside).map(|fragment| fragment.function)
    }
}

fn decoder(code: &[u8], rva: u32) -> Decoder<'_> {
    Decoder::with_ip(64, code, u64::from(rva), DecoderOptions::NONE)
}

fn decode(decoder: &mut Decoder<'_>) -> Result<Instruction, String> {
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return Err(format!("the code at {:#x} cannot be decoded", instruction.ip()));
    }
    Ok(instruction)
}

/// Where a call or jump leads that names its target.
fn direct_target(instruction: &Instruction) -> Option<u32> {
    if instruction.op_count() == 0 || instruction.op0_kind() != OpKind::NearBranch64 {
        return None;
    }
    u32::try_from(instruction.near_branch64()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(stack: u32, calls: &[u32], jumps: &[u32]) -> Function {
        let set = |targets: &[u32]| targets.iter().copied().collect();
        Function { stack, calls: set(calls), jumps: set(jumps), names: BTreeSet::new() }
    }

    #[test]
    fn a_circle_of_calls_is_recursion_and_a_circle_of_jumps_is_not() {
        let own = Graph::of([(1, function(8, &[1], &[]))]);
        assert_eq!(own.recursion(), Some(vec![1]));
        let calls = Graph::of([
            (1, function(8, &[2], &[])),
            (2, function(8, &[], &[3])),
            (3, function(8, &[1], &[])),
        ]);
        assert_eq!(calls.recursion(), Some(vec![2, 3, 1]));
        assert_eq!(calls.deepest(), None);
        let jumps = Graph::of([(1, function(8, &[], &[2])), (2, function(16, &[], &[1]))]);
        assert_eq!(jumps.recursion(), None);
        assert_eq!(jumps.deepest().map(|chain| chain.stack), Some(16));
    }

    #[test]
    fn the_deepest_chain_adds_calls_up_and_gives_a_jumping_function_no_stack() {
        let graph = Graph::of([
            (1, function(100, &[2, 3], &[])),
            (2, function(10, &[4], &[])),
            (3, function(20, &[], &[5])),
            (4, function(50, &[], &[])),
            (5, function(70, &[], &[])),
        ]);
        assert_eq!(graph.deepest(), Some(Chain { stack: 170, functions: vec![1, 5] }));
        assert_eq!(graph.callers_of(4).collect::<Vec<_>>(), [2]);
        assert_eq!(graph.callers_of(5).collect::<Vec<_>>(), [3]);
    }
}
