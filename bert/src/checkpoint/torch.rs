//! Where the tensors of a `torch.save` stand: in a zip archive, or, as it was before torch 1.6, one
//! after the other behind five pickles.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use candle_core::DType;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Object, Pickle, Place, Source};
use super::stored::Stored;

/// What an archive begins with.
const ZIP: &[u8] = b"PK\x03\x04";

/// The number that begins a file of the older format, from its lowest byte.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Numbers of one type, one after the other, that tensors are views of.
struct Storage {
    start: u64,
    end: u64,
}

pub(super) fn tensors(mut file: &File, size: u64) -> Result<HashMap<String, Stored>, String> {
    let mut start = [0; 4];
    file.read_exact(&mut start).map_err(|_| "is too short for a file of torch.save".to_owned())?;
    file.rewind().map_err(|error| error.to_string())?;
    if start == ZIP { archive(file) } else { before_archives(file, size) }
}

fn archive(file: &File) -> Result<HashMap<String, Stored>, String> {
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| format!("is a zip archive that cannot be read, perhaps because it was cut: {error}"))?;
    let mut prefix = None;
    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("its part {name} is compressed or encrypted, which torch.save never does"));
        }
        let start = entry.data_start().ok_or_else(|| format!("its part {name} has no place"))?;
        if let Some(before) = name.strip_suffix("data.pkl").filter(|before| before.is_empty() || before.ends_with('/'))
        {
            prefix = Some(before.to_owned());
        }
        entries.insert(name, Storage { start, end: start.saturating_add(entry.size()) });
    }
    let prefix = prefix.ok_or("is a zip archive without a data.pkl, so not of torch.save")?;
    let read = |name: &str| -> Result<Option<Vec<u8>>, String> {
        let Some(part) = entries.get(&format!("{prefix}{name}")) else { return Ok(None) };
        let mut file = file;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        file.seek(SeekFrom::Start(part.start)).map_err(|error| error.to_string())?;
        let mut source = Source { inner: file, left: length.saturating_sub(part.start) };
        source.take(part.end - part.start).map(Some)
    };
    if read("byteorder")?.is_some_and(|order| order != b"little") {
        return Err("its numbers have their highest byte first, which is not read".to_owned());
    }
    let pickle = read("data.pkl")?.unwrap_or_default();
    let pickle = Pickle::read(&mut Source { left: pickle.len() as u64, inner: pickle.as_slice() })?;
    views(&pickle, |key| entries.get(&format!("{prefix}data/{key}")))
}

fn before_archives(file: &File, size: u64) -> Result<HashMap<String, Stored>, String> {
    let mut source = Source { inner: BufReader::new(file), left: size };
    let magic = Pickle::read(&mut source).ok();
    if !magic.is_some_and(|magic| matches!(magic.root(), Object::Large(bytes) if *bytes == MAGIC)) {
        return Err("is no file of torch.save".to_owned());
    }
    let _protocol = Pickle::read(&mut source)?;
    let system = Pickle::read(&mut source)?;
    if let Object::Dictionary(entries) = system.root()
        && entries.iter().any(|(key, value)| {
            system.text(*key) == Some("little_endian") && matches!(system.get(*value), Object::Bool(false))
        })
    {
        return Err("its numbers have their highest byte first, which is not read".to_owned());
    }
    let pickle = Pickle::read(&mut source)?;
    let sizes = number_sizes(&pickle)?;
    let keys = Pickle::read(&mut source)?;
    let Object::Sequence(places) = keys.root() else {
        return Err("is damaged: it does not say which numbers it has".to_owned());
    };
    let mut storages = HashMap::new();
    for place in places {
        let key = keys.text(*place).ok_or("is damaged: it does not say which numbers it has")?;
        let bytes = sizes.get(key).ok_or("is damaged: it has numbers that nothing is made of")?;
        let count = source.take(8)?.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let length = count.checked_mul(*bytes).filter(|length| *length <= source.left);
        let length = length.ok_or_else(|| format!("was cut: {count} numbers are announced and not there"))?;
        let start = size - source.left;
        source.inner.seek_relative(length as i64).map_err(|error| error.to_string())?;
        source.left -= length;
        storages.insert(key.to_owned(), Storage { start, end: start + length });
    }
    views(&pickle, |key| storages.get(key))
}

/// How many bytes a number of each storage has.
fn number_sizes(pickle: &Pickle) -> Result<HashMap<String, u64>, String> {
    let mut sizes = HashMap::new();
    for object in pickle.objects() {
        if let Object::Persistent(place) = object {
            let (type_name, key) = storage(pickle, *place)?;
            sizes.insert(key.to_owned(), number(type_name)?.1);
        }
    }
    Ok(sizes)
}

/// The tensors of a state dict, each a view of a storage.
fn views<'a>(
    pickle: &Pickle,
    storage_of: impl Fn(&str) -> Option<&'a Storage>,
) -> Result<HashMap<String, Stored>, String> {
    let Object::Dictionary(entries) = pickle.root() else {
        return Err("holds something else than a dictionary of tensors: save the model's state_dict()".to_owned());
    };
    let mut tensors = HashMap::new();
    for (name, value) in entries {
        let Some(name) = pickle.text(*name) else { continue };
        let Some(arguments) = tensor(pickle, *value) else { continue };
        let damaged = || format!("is damaged: tensor {name} is made of something else than numbers");
        let [base, offset, shape, strides, ..] = arguments else { return Err(damaged()) };
        let Object::Persistent(base) = pickle.get(*base) else { return Err(damaged()) };
        let (type_name, key) = storage(pickle, *base)?;
        let (dtype, bytes) = number(type_name)?;
        let storage = storage_of(key).ok_or_else(|| format!("was cut: the numbers of {name} are not there"))?;
        let (shape, strides) = pickle.counts(*shape).zip(pickle.counts(*strides)).ok_or_else(damaged)?;
        let offset = pickle.count(*offset).and_then(|offset| (offset as u64).checked_mul(bytes));
        let start = offset.and_then(|offset| storage.start.checked_add(offset)).ok_or_else(damaged)?;
        if shape.len() != strides.len() {
            return Err(damaged());
        }
        let type_name = type_name.trim_start_matches("torch.").to_owned();
        tensors.insert(name.to_owned(), Stored { dtype, type_name, shape, strides, start, end: storage.end });
    }
    if tensors.is_empty() {
        return Err("holds no tensors by name: save the model's state_dict() alone".to_owned());
    }
    Ok(tensors)
}

/// What a tensor is made of, also inside of a parameter.
fn tensor(pickle: &Pickle, place: Place) -> Option<&[Place]> {
    match pickle.get(place) {
        Object::Call(name, arguments) if name.starts_with("torch._utils._rebuild_tensor") => {
            pickle.sequence(*arguments)
        }
        Object::Call(name, arguments) if name == "torch._utils._rebuild_parameter" => {
            match pickle.get(*pickle.sequence(*arguments)?.first()?) {
                Object::Call(name, arguments) if name.starts_with("torch._utils._rebuild_tensor") => {
                    pickle.sequence(*arguments)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The type and the key of what `("storage", type, key, place, count)` names.
fn storage(pickle: &Pickle, place: Place) -> Result<(&str, &str), String> {
    let parts = pickle.sequence(place).unwrap_or_default();
    if let [kind, type_name, key, _, _, rest @ ..] = parts
        && pickle.text(*kind) == Some("storage")
        && let (Object::Global(type_name), Some(key)) = (pickle.get(*type_name), pickle.text(*key))
        && rest.iter().all(|view| matches!(pickle.get(*view), Object::Nothing))
    {
        return Ok((type_name, key));
    }
    Err("is damaged, or of a version of torch before 1.0: it has numbers that are stored in no known way".to_owned())
}

/// What we read numbers of a storage as, and how many bytes each has.
fn number(storage: &str) -> Result<(Option<DType>, u64), String> {
    Ok(match storage.trim_start_matches("torch.").trim_end_matches("Storage") {
        "Half" => (Some(DType::F16), 2),
        "BFloat16" => (Some(DType::BF16), 2),
        "Float" => (Some(DType::F32), 4),
        "Double" => (Some(DType::F64), 8),
        "Long" => (None, 8),
        "Int" => (None, 4),
        "Short" => (None, 2),
        "Char" | "Byte" | "Bool" => (None, 1),
        _ => return Err(format!("has numbers of {storage}, which no BERT is made of")),
    })
}
