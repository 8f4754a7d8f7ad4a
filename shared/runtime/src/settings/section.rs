//! What a setting is, how a section of settings is defined, and how its values are read.

use crate::client_address::AddressRanges;
use baton_domain::identity::{AdminClaim, AllowedEmails};
use baton_domain::key::Role;
use baton_domain::secret::Secret;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One environment variable that Baton, or a library inside it, reads.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// The variable's name in an earlier version, which is still read. Empty if there is none.
    pub former_name: &'static str,
    /// The value if the variable is absent or empty, as one would write it. Empty if there is none.
    pub default: &'static str,
    /// What applies if there is no default value, in words. Empty if nothing does.
    pub unless_set: &'static str,
    /// The values that it takes: a unit, or the words themselves.
    pub values: &'static str,
    /// Whether `template.yaml` sets it for the functions.
    pub is_set_by_template: bool,
    /// Whether parts of the `baton` program other than [`Settings`](super::Settings) read it, such
    /// as the operator's commands.
    pub is_read_by_program: bool,
    documentation: &'static str,
}

impl Setting {
    pub(super) const fn new(name: &'static str, values: &'static str) -> Self {
        Self {
            name,
            former_name: "",
            default: "",
            unless_set: "",
            values,
            is_set_by_template: false,
            is_read_by_program: false,
            documentation: "",
        }
    }

    pub(super) const fn formerly(self, former_name: &'static str) -> Self {
        Self { former_name, ..self }
    }

    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    pub(super) const fn unless_set(self, unless_set: &'static str) -> Self {
        Self { unless_set, ..self }
    }

    pub(super) const fn set_by_template(self) -> Self {
        Self { is_set_by_template: true, ..self }
    }

    pub(super) const fn read_by_program(self) -> Self {
        Self { is_read_by_program: true, ..self }
    }

    pub(super) const fn with_documentation(self, documentation: &'static str) -> Self {
        Self { documentation, ..self }
    }

    /// One or two sentences that say what it is for.
    pub fn explanation(&self) -> &'static str {
        self.documentation.trim_start()
    }

    /// The help of a flag that overrides it: `summary`, then the variable and its default.
    pub fn flag_help(&self, summary: &str) -> String {
        let Self { name, default, .. } = self;
        if default.is_empty() {
            format!("{summary} [env: {name}]")
        } else {
            format!("{summary} [env: {name}] [default: {default}]")
        }
    }
}

/// A part of the reference `docs/reference/settings.md`.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Its settings, in the order of the reference.
    pub settings: &'static [Setting],
}

/// Defines a constant for each variable. Its documentation is the setting's explanation.
macro_rules! variables {
    ($(
        $(#[doc = $line:literal])+
        $variable:ident($values:literal) $(. $property:ident ($($argument:literal)?))*;
    )*) => {
        $(
            $(#[doc = $line])+
            pub const $variable: $crate::settings::Setting =
                $crate::settings::Setting::new(stringify!($variable), $values)
                    $(.$property($($argument)?))*
                    .with_documentation(concat!($($line),+));
        )*
    };
}

/// Defines a section: a structure with a field for each setting, whose documentation is also the
/// setting's explanation in the reference, a constant for each variable, and the reading. After
/// `by` is the parser of a field that needs more than its type's own one. The variables after
/// `others` have no field, because other parts of the program or libraries read them. A section
/// without a structure has only such variables.
macro_rules! section {
    (
        $(#[$about:meta])+
        $section:ident($title:literal) {$(
            $(#[doc = $line:literal])+
            $field:ident: $type:ty = $variable:ident($values:literal)
                $(. $property:ident ($($argument:literal)?))* $(by $parser:path)?;
        )+}
        $(others {$(
            $(#[doc = $other_line:literal])+
            $other:ident($other_values:literal) $(. $other_property:ident ($($other_argument:literal)?))*;
        )+})?
    ) => {
        $(#[$about])+
        pub struct $section {
            $($(#[doc = $line])+ pub $field: $type,)+
        }

        $crate::settings::section::variables! {
            $($(#[doc = $line])+ $variable($values) $(.$property($($argument)?))*;)+
            $($(
                $(#[doc = $other_line])+
                $other($other_values) $(.$other_property($($other_argument)?))*;
            )+)?
        }

        impl $section {
            pub(super) const SECTION: $crate::settings::Section = $crate::settings::Section {
                title: $title,
                settings: &[$($variable,)+ $($($other,)+)?],
            };

            /// Reads all fields. Returns `None` if a value is bad; `source` then has complaints.
            pub(super) fn from_source(
                source: &mut $crate::settings::section::SettingsSource<'_>,
            ) -> Option<Self> {
                $(let $field = source.read(
                    &$variable,
                    $crate::settings::section::section!(@parser $($parser)?),
                );)+
                Some(Self { $($field: $field?),+ })
            }
        }
    };
    ($title:literal {$(
        $(#[doc = $line:literal])+
        $variable:ident($values:literal) $(. $property:ident ($($argument:literal)?))*;
    )+}) => {
        $crate::settings::section::variables! {
            $($(#[doc = $line])+ $variable($values) $(.$property($($argument)?))*;)+
        }

        pub(super) const SECTION: $crate::settings::Section =
            $crate::settings::Section { title: $title, settings: &[$($variable),+] };
    };
    (@parser) => { $crate::settings::section::SettingValue::from_text };
    (@parser $parser:path) => { $parser };
}

pub(super) use {section, variables};

/// The environment, and the complaints about it.
pub(super) struct SettingsSource<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) complaints: String,
}

impl SettingsSource<'_> {
    /// The value of a setting. A bad one gets a complaint.
    pub(super) fn read<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value_of = |name: &str| (self.lookup)(name).filter(|text| !text.is_empty());
        let former_name = Some(setting.former_name).filter(|name| !name.is_empty());
        let text = value_of(setting.name).or_else(|| former_name.and_then(value_of));
        match parse(text.as_deref().unwrap_or(setting.default)) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.add_complaint(setting, &complaint);
                None
            }
        }
    }

    pub(super) fn add_complaint(&mut self, setting: &Setting, complaint: &str) {
        let _infallible = write!(self.complaints, " {} {complaint};", setting.name);
    }
}

/// A type that a setting can have.
pub(super) trait SettingValue: Sized {
    /// Parses a value; the text is empty if the variable is absent and has no default. The error is
    /// for the person who set the variable, and follows its name.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// A setting without a default.
impl<T: SettingValue> SettingValue for Option<T> {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }
}

impl SettingValue for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl SettingValue for Secret {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text.to_owned()))
    }
}

impl SettingValue for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl SettingValue for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "1" | "true" | "yes" => Ok(true),
            "0" | "false" | "no" => Ok(false),
            _ => Err("must be 1 or 0".to_owned()),
        }
    }
}

impl SettingValue for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(Self::from_secs_f64(seconds)),
            _ => Err("must be a number of seconds from 0 to 1000000".to_owned()),
        }
    }
}

impl SettingValue for Role {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "member" => Ok(Self::Member),
            "admin" => Ok(Self::Admin),
            _ => Err("must be `member` or `admin`".to_owned()),
        }
    }
}

/// Types with a parser: with a complaint, if the parser's error does not help.
macro_rules! parsed_values {
    ($($type:ty $(, $complaint:literal)?;)+) => {
        $(impl $crate::settings::section::SettingValue for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error: <Self as std::str::FromStr>::Err| {
                    $crate::settings::section::parsed_values!(@complaint error $($complaint)?)
                })
            }
        })+
    };
    (@complaint $error:ident) => { $error.to_string() };
    (@complaint $error:ident $complaint:literal) => {{
        let _unhelpful = $error;
        $complaint.to_owned()
    }};
}

pub(super) use parsed_values;

parsed_values! {
    u32, "must be a whole number from 0 to 4294967295";
    usize, "must be a whole number, 0 or more";
    SocketAddr, "must be an IP address and a port, such as 127.0.0.1:8080";
    AddressRanges;
    AdminClaim;
    AllowedEmails;
}
