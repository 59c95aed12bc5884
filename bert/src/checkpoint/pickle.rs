//! Python's pickles, as far as weights need them: values are taken apart and nothing is run.
//!
//! What a program may be called is compared with a short list; every length is compared with what
//! is left of the file before anything is allocated.

use std::collections::HashMap;
use std::io::Read;

/// What torch calls to make a tensor of stored numbers, and what it wraps around it.
const CALLABLE: [&str; 5] = [
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
];

/// The newest protocol that torch reads weights in; its own is 2.
const NEWEST: u64 = 3;

/// Objects of a pickle at most: a model has some for each tensor.
const MOST_OBJECTS: usize = 5_000_000;

/// The place of an object among all of a pickle.
pub(super) type Place = usize;

/// A Python object. Those that hold others hold their places, since a pickle may name one twice.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Nothing,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, its bytes from the lowest.
    Large(Vec<u8>),
    Float,
    Text(String),
    Sequence(Vec<Place>),
    Dictionary(Vec<(Place, Place)>),
    /// A name, as `module.name`.
    Global(String),
    /// What a function of this name makes of these arguments.
    Call(String, Place),
    /// What stands outside of the pickle.
    Persistent(Place),
}

/// All objects of a pickle.
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: Place,
}

/// The bytes that a pickle stands in, of which so many are left.
pub(super) struct Source<R> {
    pub inner: R,
    pub left: u64,
}

impl<R: Read> Source<R> {
    pub fn take(&mut self, count: u64) -> Result<Vec<u8>, String> {
        if count > self.left {
            return Err(format!("was cut: {count} bytes are announced, {} are left", self.left));
        }
        let mut bytes = vec![0; count as usize];
        self.inner.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.left -= count;
        Ok(bytes)
    }

    fn number(&mut self, bytes: u64) -> Result<u64, String> {
        Ok(self.take(bytes)?.into_iter().rev().fold(0, |number, byte| number << 8 | u64::from(byte)))
    }

    fn text(&mut self, bytes_of_length: u64) -> Result<Object, String> {
        let length = self.number(bytes_of_length)?;
        Ok(Object::Text(String::from_utf8_lossy(&self.take(length)?).into_owned()))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        loop {
            match self.take(1)?[0] {
                b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
                byte => line.push(byte),
            }
        }
    }
}

impl Pickle {
    /// Reads one pickle; the source stands behind it then.
    pub fn read<R: Read>(source: &mut Source<R>) -> Result<Self, String> {
        let mut machine = Machine::default();
        loop {
            let code = source.take(1)?[0];
            if code == b'.' {
                let root = machine.pop()?;
                return Ok(Self { objects: machine.objects, root });
            }
            machine.step(code, source)?;
            if machine.objects.len().max(machine.stack.len()).max(machine.marks.len()) > MOST_OBJECTS {
                return Err(format!("is no pickle of weights: it has more than {MOST_OBJECTS} objects"));
            }
        }
    }

    pub fn root(&self) -> &Object {
        &self.objects[self.root]
    }

    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub fn get(&self, place: Place) -> &Object {
        &self.objects[place]
    }

    pub fn sequence(&self, place: Place) -> Option<&[Place]> {
        match self.get(place) {
            Object::Sequence(places) => Some(places),
            _ => None,
        }
    }

    pub fn text(&self, place: Place) -> Option<&str> {
        match self.get(place) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn count(&self, place: Place) -> Option<usize> {
        match self.get(place) {
            Object::Int(count) => usize::try_from(*count).ok(),
            _ => None,
        }
    }

    pub fn counts(&self, place: Place) -> Option<Vec<usize>> {
        self.sequence(place)?.iter().map(|place| self.count(*place)).collect()
    }
}

/// The stack machine that a pickle is a program for.
#[derive(Default)]
struct Machine {
    objects: Vec<Object>,
    stack: Vec<Place>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Place>,
}

impl Machine {
    fn step<R: Read>(&mut self, code: u8, source: &mut Source<R>) -> Result<(), String> {
        let object = match code {
            0x80 => {
                return match source.number(1)? {
                    0..=NEWEST => Ok(()),
                    newer => Err(format!("is a pickle of protocol {newer}, which torch does not read as weights")),
                };
            }
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            b'q' | b'r' => {
                let key = source.number(if code == b'q' { 1 } else { 4 })?;
                return self.remember(key);
            }
            b'h' | b'j' => {
                let key = source.number(if code == b'h' { 1 } else { 4 })?;
                let place = self.memo.get(&key).ok_or("is damaged: it refers to what it has not said")?;
                self.stack.push(*place);
                return Ok(());
            }
            b'0' => return self.pop().map(drop),
            b'1' => return self.since_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                return Ok(());
            }
            b's' | b'u' | b'a' | b'e' => return self.fill(code),
            // The state of an object, such as the versions of a state dict's modules: not a number of it.
            b'b' => return self.pop().map(drop),
            b'N' => Object::Nothing,
            0x88 | 0x89 => Object::Bool(code == 0x88),
            b'J' => Object::Int(i64::from(source.number(4)? as u32 as i32)),
            b'K' => Object::Int(source.number(1)? as i64),
            b'M' => Object::Int(source.number(2)? as i64),
            0x8a | 0x8b => {
                let length = source.number(if code == 0x8a { 1 } else { 4 })?;
                integer(source.take(length)?)
            }
            b'G' => source.take(8).map(|_| Object::Float)?,
            b'X' | b'T' | b'B' => source.text(4)?,
            b'U' | b'C' => source.text(1)?,
            b'}' => Object::Dictionary(Vec::new()),
            b']' | b')' => Object::Sequence(Vec::new()),
            b't' => Object::Sequence(self.since_mark()?),
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or_else(too_few)?;
                Object::Sequence(self.stack.split_off(start))
            }
            b'c' => global(&source.line()?, &source.line()?)?,
            b'R' => self.call()?,
            b'Q' => Object::Persistent(self.pop()?),
            _ => return Err(format!("is no pickle of weights: it has the instruction {code:#04x}")),
        };
        self.stack.push(self.objects.len());
        self.objects.push(object);
        Ok(())
    }

    fn call(&mut self) -> Result<Object, String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        match &self.objects[function] {
            Object::Global(name) if name == CALLABLE[0] => Ok(Object::Dictionary(Vec::new())),
            Object::Global(name) => Ok(Object::Call(name.clone(), arguments)),
            _ => Err("is damaged: it calls what is no function".to_owned()),
        }
    }

    /// Puts what is on the stack into the list or dictionary below it.
    fn fill(&mut self, code: u8) -> Result<(), String> {
        let items = match code {
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            b'a' => vec![self.pop()?],
            _ => self.since_mark()?,
        };
        let target = self.top()?;
        match &mut self.objects[target] {
            Object::Dictionary(entries) => {
                entries.extend(items.as_chunks().0.iter().map(|[key, value]| (*key, *value)))
            }
            Object::Sequence(places) => places.extend(items),
            _ => return Err("is damaged: it fills what is neither a list nor a dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn top(&self) -> Result<Place, String> {
        self.stack.last().copied().ok_or_else(too_few)
    }

    fn pop(&mut self) -> Result<Place, String> {
        self.stack.pop().ok_or_else(too_few)
    }

    fn since_mark(&mut self) -> Result<Vec<Place>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or_else(too_few)?;
        Ok(self.stack.split_off(mark))
    }
}

fn too_few() -> String {
    "is damaged: it takes more than it has said".to_owned()
}

fn global(module: &str, name: &str) -> Result<Object, String> {
    let name = format!("{module}.{name}");
    let is_storage = module == "torch" && name.ends_with("Storage");
    match is_storage || CALLABLE.contains(&name.as_str()) {
        true => Ok(Object::Global(name)),
        false => Err(format!("is not weights alone: loading it would run {name}")),
    }
}

/// A signed integer of any length, from its lowest byte.
fn integer(bytes: Vec<u8>) -> Object {
    if bytes.len() > 8 {
        return Object::Large(bytes);
    }
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut all = [fill; 8];
    all[..bytes.len()].copy_from_slice(&bytes);
    Object::Int(i64::from_le_bytes(all))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle, String> {
        Pickle::read(&mut Source { inner: bytes, left: bytes.len() as u64 })
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_before_anything_is_allocated() {
        for code in [b'X', b'T', b'B', 0x8b] {
            let error = read(&[0x80, 2, code, 0xff, 0xff, 0xff, 0xff, b'.']).err().unwrap();
            assert!(error.contains("4294967295 bytes are announced, 1 are left"), "{error}");
        }
    }

    #[test]
    fn what_would_run_a_program_is_refused_by_its_name() {
        let error = read(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.").err().unwrap();
        assert!(error.contains("would run posix.system"), "{error}");
    }

    #[test]
    fn values_are_as_python_says_them() {
        // pickle.dumps({"a": (1, -2, 300), "b": None, "c": 1 << 80}, protocol=2)
        let dumped = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffM\x2c\x01\x87q\x02X\x01\x00\x00\x00bq\x03NX\x01\x00\x00\x00cq\x04\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01u.";
        let pickle = read(dumped).unwrap();
        let Object::Dictionary(entries) = pickle.root() else { panic!("{:?}", pickle.root()) };
        let names: Vec<_> = entries.iter().map(|(name, _)| pickle.text(*name).unwrap()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let numbers = pickle.sequence(entries[0].1).unwrap().iter().map(|number| match pickle.get(*number) {
            Object::Int(number) => *number,
            other => panic!("{other:?}"),
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [1, -2, 300]);
        assert!(matches!(pickle.get(entries[1].1), Object::Nothing));
        assert!(matches!(pickle.get(entries[2].1), Object::Large(bytes) if bytes.len() == 11));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_instructions_make_it_panic(bytes in prop::collection::vec(prop::sample::select(b"(}])tusae012NKq\x00\x85\x86\x87RQbX\x01.".to_vec()), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
