//! Reads a configuration file as a whole: every key that is wrong is told at once, each with its line and the cure.
//!
//! A [`Section`] hands out its keys one by one and notes what does not fit. Keys that nobody asked for are unknown, and
//! refused. It decides what text, numbers and lists look like; what they mean is for whoever asks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::places::{Place, SectionPlace};

/// One thing that is wrong in a file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Problem {
    place: Place,
    /// What is wrong, and what to do.
    text: String,
}

/// Everything that is wrong in one file or several, in the order in which they were read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ConfigError {
    problems: Vec<Problem>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { place, text }) in self.problems.iter().enumerate() {
            let next_line = if index == 0 { "" } else { "\n" };
            write!(formatter, "{next_line}{place}: {text}")?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// Whether nothing is wrong after all.
    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// One thing more that is wrong.
    pub(super) fn add(&mut self, place: Place, text: String) {
        self.problems.push(Problem { place, text });
    }

    /// All that is wrong with another file.
    pub(super) fn append(&mut self, other: Self) {
        self.problems.extend(other.problems);
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

/// A value with its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Placed<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands in the file.
    pub(crate) span: Range<usize>,
    /// Its key with its sections.
    pub(crate) key: String,
}

/// One table of the file.
#[derive(Debug)]
pub(crate) struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    name: String,
    span: Range<usize>,
    table: &'r DeTable<'a>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Reader<'a> {
    /// Reads `text`, the content of `path`: `read` asks for what it wants of the top section. What it gives is worth
    /// something only if nothing was wrong.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn read<T>(
        path: &'a Path,
        text: &'a str,
        read: impl FnOnce(&Self, &Section<'_, 'a>) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let reader = Self { path, text, problems: RefCell::default() };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', "; ");
            reader.note(at, String::new(), format!("{message}: this is not TOML; see https://toml.io"));
        }
        let value = if errors.is_empty() {
            let section = reader.section(String::new(), 0..0, document.get_ref());
            let value = read(&reader, &section);
            section.finish();
            value
        } else {
            None
        };
        let mut problems = reader.problems.into_inner();
        problems.sort();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                assert!(!problems.is_empty(), "a value that is missing was told of");
                Err(ConfigError { problems })
            }
        }
    }

    /// Something is wrong with a value.
    pub(crate) fn refuse<T>(&self, value: &Placed<T>, text: impl Into<String>) {
        self.note(value.span.start, value.key.clone(), text.into());
    }

    /// The same for a place that was noted before.
    pub(super) fn refuse_at(&self, place: Place, text: String) {
        self.problems.borrow_mut().push(Problem { place, text });
    }

    fn note(&self, at: usize, key: String, text: String) {
        let place = Place { path: self.path.to_owned(), line: self.line_at(at), key };
        self.refuse_at(place, text);
    }

    fn line_at(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    fn note_lines(&self, around: &str, table: &DeTable<'a>, lines: &mut BTreeMap<String, usize>) {
        for (key, value) in table {
            let name = format!("{around}{}", key.get_ref());
            if let Some(table) = value.get_ref().as_table() {
                self.note_lines(&format!("{name}."), table, lines);
            }
            lines.insert(name, self.line_at(value.span().start));
        }
    }

    fn section<'r>(&'r self, name: String, span: Range<usize>, table: &'r DeTable<'a>) -> Section<'r, 'a> {
        Section { reader: self, name, span, table, asked: RefCell::default() }
    }
}

impl<'r, 'a> Section<'r, 'a> {
    /// Where the section stands, for what is wrong with it as a whole.
    pub(crate) fn place(&self) -> Placed<()> {
        Placed { value: (), span: self.span.clone(), key: self.name.clone() }
    }

    /// Where the section and each of its keys stand, for what shows only when more than this file is known.
    pub(super) fn places(&self) -> SectionPlace {
        let mut lines = BTreeMap::new();
        self.reader.note_lines("", self.table, &mut lines);
        let line = self.reader.line_at(self.span.start);
        SectionPlace { path: self.reader.path.to_owned(), name: self.name.clone(), line, lines }
    }

    /// Text under `key`, if it is there.
    pub(crate) fn text(&self, key: &'static str) -> Option<Placed<String>> {
        let (value, placed) = self.value(key)?;
        match value.as_str() {
            Some(text) => Some(placed.with(text.to_owned())),
            None => self.wants(&placed, "text in quotes"),
        }
    }

    /// Text that `parse` understands; what it says is noted otherwise.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let text = self.text(key)?;
        match parse(&text.value) {
            Ok(value) => Some(text.with(value)),
            Err(wrong) => {
                self.reader.refuse(&text, wrong);
                None
            }
        }
    }

    /// The same for a value that must be there; `example` is what could stand there.
    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        self.must_have(key, example).then(|| self.parsed(key, parse))?
    }

    /// A number, if it is there.
    pub(crate) fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<Placed<u64>> {
        let (value, placed) = self.value(key)?;
        let number = value.as_integer().and_then(|integer| {
            u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
        });
        match number {
            Some(number) if range.contains(&number) => Some(placed.with(number)),
            _ => self.wants(&placed, &format!("a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// The same for a number that must be there.
    pub(crate) fn required_number(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Placed<u64>> {
        self.must_have(key, &range.start().to_string()).then(|| self.number(key, range))?
    }

    /// One of a few numbers, and what it stands for.
    pub(crate) fn number_of<T: Copy>(&self, key: &'static str, numbers: &[(u64, T)]) -> Option<Placed<T>> {
        let number = self.number(key, 0..=u64::MAX)?;
        let found = numbers.iter().find(|(known, _)| *known == number.value);
        if found.is_none() {
            let known: Vec<String> = numbers.iter().map(|(known, _)| known.to_string()).collect();
            self.reader.refuse(&number, format!("must be {}", known.join(" or ")));
        }
        found.map(|(_, value)| number.with(*value))
    }

    /// `true` or `false`, if it is there.
    pub(crate) fn flag(&self, key: &'static str) -> Option<Placed<bool>> {
        let (value, placed) = self.value(key)?;
        match value.as_bool() {
            Some(flag) => Some(placed.with(flag)),
            None => self.wants(&placed, "true or false"),
        }
    }

    /// Whether `key` is there, whatever stands under it.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A key that does not go with others, if it is there.
    pub(crate) fn refuse_key(&self, key: &'static str, why: &str) {
        if let Some((_, placed)) = self.value(key) {
            self.reader.refuse(&placed, why);
        }
    }

    /// A list of texts, each understood by `parse`. Not there: an empty list.
    pub(crate) fn list<T>(
        &self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Vec<Placed<T>> {
        let Some((value, placed)) = self.value(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            let _: Option<()> = self.wants(&placed, "a list of texts, as [\"one\", \"two\"]");
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in array.iter() {
            let place = Placed { value: (), span: item.span(), key: placed.key.clone() };
            match item.get_ref().as_str().map(&mut parse) {
                Some(Ok(value)) => list.push(place.with(value)),
                Some(Err(wrong)) => self.reader.refuse(&place, wrong),
                None => drop(self.wants::<()>(&place, "text in quotes")),
            }
        }
        list
    }

    /// A list that must be there and have something in it.
    pub(crate) fn required_list<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Vec<Placed<T>> {
        if !self.must_have(key, example) {
            return Vec::new();
        }
        let list = self.list(key, parse);
        if let Some((value, placed)) = self.value(key)
            && value.as_array().is_some_and(|array| array.is_empty())
        {
            self.reader.refuse(&placed, format!("the list is empty; write for example {key} = {example}"));
        }
        list
    }

    /// The section `[key]`, if it is there.
    pub(crate) fn section(&self, key: &'static str) -> Option<Self> {
        let (value, placed) = self.value(key)?;
        match value.as_table() {
            Some(table) => Some(self.reader.section(placed.key, placed.span, table)),
            None => self.wants(&placed, &format!("a section that begins with [{key}]")),
        }
    }

    /// The same for one that must be there.
    pub(crate) fn required_section(&self, key: &'static str) -> Option<Self> {
        if self.value(key).is_none() {
            let text = format!("is missing; write a section that begins with [{key}]");
            self.reader.note(self.span.start, self.full_name(key), text);
        }
        self.section(key)
    }

    /// The sections `[[key]]`.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some((value, placed)) = self.value(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            let _: Option<()> = self.wants(&placed, &format!("sections that begin with [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(self.reader.section(placed.key.clone(), item.span(), table)),
                None => drop(self.wants::<()>(&placed, &format!("sections that begin with [[{key}]]"))),
            }
        }
        sections
    }

    /// Notes every key that nobody asked for; to be called when all were.
    pub(crate) fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            if asked.contains(key.get_ref().as_ref()) {
                continue;
            }
            let nearest =
                asked.iter().map(|known| (strsim::damerau_levenshtein(known, key.get_ref()), known)).min();
            let cure = match nearest {
                Some((distance, known)) if distance <= 1 + known.len() / 3 => {
                    format!("did you mean `{known}`?")
                }
                _ => format!("known are {}", asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            let text = format!("there is no such key; {cure}");
            self.reader.note(key.span().start, self.full_name(key.get_ref()), text);
        }
    }

    fn must_have(&self, key: &'static str, example: &str) -> bool {
        let is_there = self.value(key).is_some();
        if !is_there {
            let text = format!("is missing; write for example {key} = {example}");
            self.reader.note(self.span.start, self.full_name(key), text);
        }
        is_there
    }

    fn value(&self, key: &'static str) -> Option<(&'r DeValue<'a>, Placed<()>)> {
        self.asked.borrow_mut().insert(key);
        let table = self.table;
        let value: &'r Spanned<DeValue<'a>> = table.get(key)?;
        Some((value.get_ref(), Placed { value: (), span: value.span(), key: self.full_name(key) }))
    }

    fn wants<T>(&self, placed: &Placed<()>, what: &str) -> Option<T> {
        self.reader.refuse(placed, format!("must be {what}"));
        None
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

impl<T> Placed<T> {
    /// A key of this section.
    pub(crate) fn named(self, key: &str) -> Self {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) };
        Self { key, ..self }
    }

    /// Another value at the same place.
    pub(crate) fn with<U>(&self, value: U) -> Placed<U> {
        Placed { value, span: self.span.clone(), key: self.key.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, u64, Vec<String>), String> {
        Reader::read(Path::new("x.toml"), text, |_, top| {
            let name = top.required("name", "\"one\"", |text| Ok(text.to_owned()));
            let count = top.number("count", 1..=9);
            let inner = top.section("inner");
            let list = inner
                .as_ref()
                .map(|inner| inner.required_list("items", "[\"a\"]", |text| Ok(text.to_owned())));
            inner.inspect(Section::finish);
            let list = list?.into_iter().map(|item| item.value).collect();
            Some((name?.value, count.map_or(5, |count| count.value), list))
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn good_text_is_read() {
        let text = "name = \"x\"\ncount = 0x3\n[inner]\nitems = [\"a\", 'b']\n";
        assert_eq!(read(text), Ok(("x".to_owned(), 3, vec!["a".to_owned(), "b".to_owned()])));
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_line() {
        let text = "nmae = \"x\"\ncount = 12\n\n[inner]\nitems = [\"a\", 4]\nother = 1\n";
        let expected = "x.toml:1: `name`: is missing; write for example name = \"one\"\n\
             x.toml:1: `nmae`: there is no such key; did you mean `name`?\n\
             x.toml:2: `count`: must be a whole number from 1 to 9\n\
             x.toml:5: `inner.items`: must be text in quotes\n\
             x.toml:6: `inner.other`: there is no such key; known are items";
        assert_eq!(read(text).expect_err("wrong"), expected);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let error = read("name = \"x\"\ncount = = 3\n").expect_err("wrong");
        assert!(error.starts_with("x.toml:2: ") && error.contains("not TOML"), "{error}");
    }
}
