//! The list in a catalog: a certificate trust list (ASN.1, DER) whose members are files.
//!
//! The rule: what is encoded has the form that `Inf2Cat` gives to catalogs for Windows 10 and later
//! (version 2), as they come from Microsoft and from others; Windows refuses one whose sets are not
//! in the order of DER (KB4580358).
//!
//! Of each file there are two members: one is named by its SHA-1, one by its SHA-256, which it has
//! once more in the form of a signature in a file ([`SpcIndirectDataContent`]).

use authenticode::{
    DigestInfo, SPC_INDIRECT_DATA_OBJID, SpcAttributeTypeAndOptionalValue, SpcIndirectDataContent,
};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerInfos};
use der::asn1::{BitString, BmpString, ObjectIdentifier, OctetString, SetOfVec};
use der::{Any, Decode, Encode, Sequence, Tag, TagNumber};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::time::Time;

use super::hashes::{Hashes, Kind};

/// `szOID_RSA_signedData`
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// `szOID_CTL`
const TRUST_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.10.1");
/// `szOID_CATALOG_LIST`
const CATALOG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.1.1");
/// `szOID_CATALOG_LIST_MEMBER2`
const MEMBERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.1.3");
/// `CAT_NAMEVALUE_OBJID`
const NAME_VALUE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.2.1");
/// `CAT_MEMBERINFO2_OBJID`
const MEMBER_KIND: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.2.3");
/// `SPC_PE_IMAGE_DATA_OBJID`
const IMAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");
/// `SPC_CAB_DATA_OBJID`: whatever is no image.
const LINK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.25");
/// `szOID_NIST_sha256`
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// `SPC_INC_PE_RESOURCES_FLAG`, `SPC_INC_PE_IMPORT_ADDR_TABLE_FLAG`: what of an image is hashed.
const COVERED: u8 = 0x80 | 0x20;
/// There are three flags.
const COVERED_UNUSED_BITS: u8 = 5;
/// `CRYPTCAT_ATTR_AUTHENTICATED`, `…_NAMEASCII`, `…_DATAASCII`
const TEXT: u32 = 0x1001_0001;

/// A list.
#[derive(Debug, Clone, Sequence)]
pub struct List {
    /// What the list is for.
    usage: Vec<ObjectIdentifier>,
    identifier: OctetString,
    made: Time,
    /// Which form the members have.
    form: AlgorithmIdentifierOwned,
    members: Vec<Member>,
    /// What is said of all members.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    values: Option<Vec<Extension>>,
}

/// A file in a list, by one of its hashes.
#[derive(Debug, Clone, Sequence)]
struct Member {
    name: OctetString,
    attributes: SetOfVec<Attribute>,
}

/// A text with a name.
#[derive(Debug, Clone, Sequence)]
struct NameValue {
    name: BmpString,
    flags: u32,
    /// UTF-16, little endian, with a zero behind it.
    value: OctetString,
}

/// What precedes the hash of an image.
#[derive(Debug, Clone, Sequence)]
struct ImageData {
    flags: BitString,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    link: Any,
}

/// A file, as a list names it.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its name without a folder, in small letters.
    pub name: &'a str,
    /// How its hashes came about.
    pub kind: Kind,
    /// They.
    pub hashes: &'a Hashes,
}

impl List {
    /// The list of these files, with a name of 16 bytes: each file is for `kernels`, the whole for
    /// `systems`.
    pub fn new(
        identifier: &[u8; 16],
        made: Time,
        files: &[File<'_>],
        kernels: &str,
        systems: &str,
    ) -> der::Result<Self> {
        let mut members = Vec::new();
        for file in files {
            members.push(Member::of(file, &file.hashes.sha1, kernels, None)?);
            let digest = indirect_data(file)?;
            members.push(Member::of(file, &file.hashes.sha256, kernels, Some(digest))?);
        }
        members.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
        let systems = NameValue::new("OS", systems)?.to_der()?;
        let systems = Extension {
            extn_id: NAME_VALUE,
            critical: false,
            extn_value: OctetString::new(systems)?,
        };
        Ok(Self {
            usage: vec![CATALOG],
            identifier: OctetString::new(identifier.as_slice())?,
            made,
            form: algorithm(MEMBERS),
            members,
            values: Some(vec![systems]),
        })
    }

    /// A catalog with this list, unsigned.
    pub fn to_catalog(&self) -> der::Result<Vec<u8>> {
        let list = EncapsulatedContentInfo {
            econtent_type: TRUST_LIST,
            econtent: Some(Any::encode_from(self)?),
        };
        let unsigned = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::new(),
            encap_content_info: list,
            certificates: None,
            crls: None,
            signer_infos: SignerInfos(SetOfVec::new()),
        };
        ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&unsigned)? }.to_der()
    }

    /// The list in a catalog, signed or not; no one has checked its signature.
    pub fn of_catalog(bytes: &[u8]) -> der::Result<Self> {
        let content = ContentInfo::from_der(bytes)?.content;
        let content = content.decode_as::<SignedData>()?.encap_content_info;
        let is_list = content.econtent_type == TRUST_LIST;
        let list = content.econtent.filter(|_| is_list).map(|list| list.decode_as::<Self>());
        let list = list.transpose()?.filter(|list| list.usage == [CATALOG]);
        list.ok_or_else(|| Tag::Sequence.value_error())
    }

    /// True if a file with this hash is in the list.
    pub fn has(&self, hash: &[u8]) -> bool {
        self.members.iter().any(|member| member.name.as_bytes() == hash)
    }
}

impl Member {
    fn of(file: &File<'_>, hash: &[u8], kernels: &str, digest: Option<Any>) -> der::Result<Self> {
        let kind = match file.kind {
            Kind::Image => TagNumber::N0,
            Kind::Flat => TagNumber::N2,
        };
        let mut attributes = vec![
            attribute(MEMBER_KIND, empty(kind)?)?,
            attribute(NAME_VALUE, Any::encode_from(&NameValue::new("OSAttr", kernels)?)?)?,
            attribute(NAME_VALUE, Any::encode_from(&NameValue::new("File", file.name)?)?)?,
        ];
        if let Some(digest) = digest {
            attributes.push(attribute(SPC_INDIRECT_DATA_OBJID, digest)?);
        }
        Ok(Self { name: OctetString::new(hash)?, attributes: SetOfVec::try_from(attributes)? })
    }
}

impl NameValue {
    fn new(name: &str, value: &str) -> der::Result<Self> {
        let value: Vec<u8> = value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        Ok(Self { name: BmpString::from_utf8(name)?, flags: TEXT, value: OctetString::new(value)? })
    }
}

/// The SHA-256 of a file as a signature in the file would have it.
fn indirect_data(file: &File<'_>) -> der::Result<Any> {
    // A link to a file without a name.
    let link = wrapped(TagNumber::N2, &empty(TagNumber::N0)?)?;
    let (value_type, value) = match file.kind {
        Kind::Flat => (LINK, link),
        Kind::Image => {
            let flags = BitString::new(COVERED_UNUSED_BITS, [COVERED])?;
            (IMAGE, Any::encode_from(&ImageData { flags, link })?)
        }
    };
    Any::encode_from(&SpcIndirectDataContent {
        data: SpcAttributeTypeAndOptionalValue { value_type, value },
        message_digest: DigestInfo {
            digest_algorithm: algorithm(SHA256),
            digest: OctetString::new(file.hashes.sha256.as_slice())?,
        },
    })
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }
}

fn attribute(oid: ObjectIdentifier, value: Any) -> der::Result<Attribute> {
    Ok(Attribute { oid, values: SetOfVec::try_from(vec![value])? })
}

fn empty(number: TagNumber) -> der::Result<Any> {
    Any::new(Tag::ContextSpecific { constructed: false, number }, [])
}

fn wrapped(number: TagNumber, content: &Any) -> der::Result<Any> {
    Any::new(Tag::ContextSpecific { constructed: true, number }, content.to_der()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use der::asn1::UtcTime;

    use super::*;
    use crate::command::Tool;

    /// A list with an image.
    fn catalog() -> Vec<u8> {
        let hashes = Hashes { sha1: vec![0x22; 20], sha256: vec![0x11; 32] };
        let file = File { name: "snapless.sys", kind: Kind::Image, hashes: &hashes };
        let made = UtcTime::from_unix_duration(Duration::ZERO).expect("a time");
        let list = List::new(&[0x33; 16], Time::UtcTime(made), &[file], "2:10.0", "_v100_X64");
        list.and_then(|list| list.to_catalog()).expect("a catalog")
    }

    /// What openssl reads: depth, type and value of objects and numbers.
    fn outline(catalog: &[u8]) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, catalog).expect("written");
        let read = Tool::new("reading", "openssl").args(["asn1parse", "-inform", "der", "-in"]);
        let read = read.arg(file.path()).output().expect("it is ASN.1");
        let line = |line: &str| {
            let (_, depth) = line.split_once("d=").expect("a depth");
            let (depth, _) = depth.split_once("hl=").expect("a length of the head");
            let (_, value) = line.split_once(": ").expect("a type");
            let value = value.split_once("OCTET STRING").map_or(value, |_| "OCTET STRING");
            format!("{} {}", depth.trim(), value.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        read.lines().map(line).collect()
    }

    /// The member that is named by the SHA-256 of an image, as catalogs of `Inf2Cat` have it.
    const MEMBER: &str = "\
        7 SEQUENCE|8 OCTET STRING|8 SET|\
        9 SEQUENCE|10 OBJECT :1.3.6.1.4.1.311.12.2.3|10 SET|11 cont [ 0 ]|\
        9 SEQUENCE|10 OBJECT :1.3.6.1.4.1.311.12.2.1|10 SET|\
        11 SEQUENCE|12 BMPSTRING|12 INTEGER :10010001|12 OCTET STRING|\
        9 SEQUENCE|10 OBJECT :1.3.6.1.4.1.311.12.2.1|10 SET|\
        11 SEQUENCE|12 BMPSTRING|12 INTEGER :10010001|12 OCTET STRING|\
        9 SEQUENCE|10 OBJECT :1.3.6.1.4.1.311.2.1.4|10 SET|11 SEQUENCE|\
        12 SEQUENCE|13 OBJECT :1.3.6.1.4.1.311.2.1.15|\
        13 SEQUENCE|14 BIT STRING|14 cont [ 0 ]|15 cont [ 2 ]|16 cont [ 0 ]|\
        12 SEQUENCE|13 SEQUENCE|14 OBJECT :sha256|14 NULL|13 OCTET STRING";

    #[test]
    fn an_image_has_the_form_that_inf2cat_gives_to_it() {
        let outline = outline(&catalog());
        let members = outline.iter().position(|line| line == "7 SEQUENCE").expect("a member");
        let expected: Vec<&str> = MEMBER.split('|').collect();
        assert_eq!(outline[members..][..expected.len()], expected, "{outline:#?}");
    }

    #[test]
    fn another_content_and_another_list_are_refused() {
        let catalog = catalog();
        List::of_catalog(&catalog).expect("a catalog");
        for kind in [TRUST_LIST, CATALOG] {
            let mut other = catalog.clone();
            let len = kind.as_bytes().len();
            let at = other.windows(len).position(|bytes| bytes == kind.as_bytes());
            other[at.expect("it names its kind") + len - 1] += 1;
            List::of_catalog(&other).expect_err("of another kind");
        }
    }
}
