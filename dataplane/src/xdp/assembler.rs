//! An assembler for eBPF: instructions with labels, jump distances filled in by a last pass.
//!
//! It knows what a packet filter needs and nothing else. A label that is never placed or too far away is a mistake of the program's author and panics.

use crate::sys::bpf::Instruction;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Register {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R5 = 5,
    R6 = 6,
    R7 = 7,
    R8 = 8,
}

/// Bytes of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Width {
    One = 0x10,
    Two = 0x08,
    Four = 0x00,
}

/// When a jump is taken; comparisons are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum When {
    Equal = 0x10,
    Greater = 0x20,
    AnyBit = 0x40,
    NotEqual = 0x50,
    Less = 0xa0,
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

const CLASS_LOAD: u8 = 0x01;
const CLASS_JUMP: u8 = 0x05;
const CLASS_JUMP32: u8 = 0x06;
const CLASS_ALU64: u8 = 0x07;
const MODE_MEMORY: u8 = 0x60;
const FROM_REGISTER: u8 = 0x08;
const OP_ADD: u8 = 0x00;
const OP_AND: u8 = 0x50;
const OP_MOVE: u8 = 0xb0;
const TO_BIG_ENDIAN: u8 = 0xdc;
const LOAD_WIDE: u8 = 0x18;
const SOURCE_MAP_FD: u8 = 1;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const ALWAYS: u8 = 0x00;

/// A program being written.
#[derive(Default)]
pub(crate) struct Assembler {
    code: Vec<Instruction>,
    places: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label to be placed later.
    pub(crate) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label names the next instruction.
    pub(crate) fn place(&mut self, label: Label) {
        let before = self.places[label.0].replace(self.code.len());
        assert!(before.is_none(), "a label is placed once");
    }

    /// `to = *(from + offset)`.
    pub(crate) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.emit(CLASS_LOAD | MODE_MEMORY | width as u8, to, from as u8, offset, 0);
    }

    /// `to = from`.
    pub(crate) fn copy(&mut self, to: Register, from: Register) {
        self.emit(CLASS_ALU64 | OP_MOVE | FROM_REGISTER, to, from as u8, 0, 0);
    }

    /// `to = value`.
    pub(crate) fn set(&mut self, to: Register, value: i32) {
        self.emit(CLASS_ALU64 | OP_MOVE, to, 0, 0, value);
    }

    /// `to += value`.
    pub(crate) fn add(&mut self, to: Register, value: i32) {
        self.emit(CLASS_ALU64 | OP_ADD, to, 0, 0, value);
    }

    /// `to += from`.
    pub(crate) fn add_register(&mut self, to: Register, from: Register) {
        self.emit(CLASS_ALU64 | OP_ADD | FROM_REGISTER, to, from as u8, 0, 0);
    }

    /// `to &= value`.
    pub(crate) fn and(&mut self, to: Register, value: i32) {
        self.emit(CLASS_ALU64 | OP_AND, to, 0, 0, value);
    }

    /// Between a big-endian half word and a number.
    pub(crate) fn big_endian_16(&mut self, to: Register) {
        self.emit(TO_BIG_ENDIAN, to, 0, 0, 16);
    }

    /// Jumps when the low 32 bits of `left` compare with `right`.
    pub(crate) fn jump_if(&mut self, when: When, left: Register, right: u32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(CLASS_JUMP32 | when as u8, left, 0, 0, right as i32);
    }

    /// Jumps when two registers compare.
    pub(crate) fn jump_if_register(&mut self, when: When, left: Register, right: Register, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(CLASS_JUMP | FROM_REGISTER | when as u8, left, right as u8, 0, 0);
    }

    /// Jumps.
    pub(crate) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(CLASS_JUMP | ALWAYS, Register::R0, 0, 0, 0);
    }

    /// `to = the map behind a descriptor`; two instruction slots.
    pub(crate) fn load_map(&mut self, to: Register, fd: i32) {
        self.emit(LOAD_WIDE, to, SOURCE_MAP_FD, 0, fd);
        self.emit(0, Register::R0, 0, 0, 0);
    }

    /// Calls helper number `helper`; it takes R1 to R5 and leaves its answer in R0.
    pub(crate) fn call(&mut self, helper: i32) {
        self.emit(CALL, Register::R0, 0, 0, helper);
    }

    /// Ends with the verdict in R0.
    pub(crate) fn exit(&mut self) {
        self.emit(EXIT, Register::R0, 0, 0, 0);
    }

    /// The program with every jump filled in.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let target = self.places[label.0].expect("every label is placed");
            let distance = target as i64 - at as i64 - 1;
            self.code[at].offset = i16::try_from(distance).expect("a filter is short");
        }
        self.code
    }

    fn emit(&mut self, code: u8, destination: Register, source: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: destination as u8 | source << 4, offset, immediate });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_forward_and_back_get_their_distance() {
        let mut program = Assembler::default();
        let (back, end) = (program.label(), program.label());
        program.place(back);
        program.jump_if(When::Equal, Register::R1, 7, end);
        program.load_map(Register::R2, 9);
        program.jump(back);
        program.place(end);
        program.exit();
        let code = program.finish();
        assert_eq!(
            (code[0].offset, code[3].offset),
            (3, -4),
            "distances count from the instruction behind the jump; a wide load takes two slots"
        );
        assert_eq!(code[0], Instruction { code: 0x16, registers: 1, offset: 3, immediate: 7 });
        assert_eq!(code[1], Instruction { code: 0x18, registers: 0x12, offset: 0, immediate: 9 });
    }

    #[test]
    #[should_panic(expected = "every label is placed")]
    fn a_label_without_a_place_is_a_mistake() {
        let mut program = Assembler::default();
        let nowhere = program.label();
        program.jump(nowhere);
        program.finish();
    }
}
