//! The manifests of package managers, from the templates in `package/winget/` and
//! `package/chocolatey/`.
//!
//! The rule: every `{{NAME}}` of a template is filled in; one that this does not know stops the
//! build.

use std::fs;
use std::path::Path;

use crate::console::Outcome;
use crate::error::{Error, IoContext, Result};
use crate::files::files_below;
use crate::layout::Layout;

use super::digest;
use super::msi::Msi;

const FOLDERS: [&str; 2] = ["winget", "chocolatey"];

/// What the templates name, and what stands for it.
type Values = [(&'static str, String); 6];

/// Writes the manifests of an MSI that will be downloaded from `url` into folders below `target`.
pub fn write(layout: &Layout, msi: &Msi, url: &str, target: &Path) -> Result<Outcome> {
    let values = values(msi, &digest::of_file(&msi.file)?, url);
    for folder in FOLDERS {
        let templates = layout.root().join("package").join(folder);
        for template in files_below(&templates)? {
            let text = fs::read_to_string(&template).on("read", &template)?;
            let text = fill(&text, &values)
                .map_err(|problem| Error::Malformed { file: template.clone(), problem })?;
            let to =
                target.join(folder).join(template.strip_prefix(&templates).unwrap_or(&template));
            let into = to.parent().unwrap_or(target);
            fs::create_dir_all(into).on("create", into)?;
            fs::write(&to, text).on("write", &to)?;
        }
    }
    Ok(Outcome::Done)
}

fn values(msi: &Msi, sha256: &str, url: &str) -> Values {
    let file = msi.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    [
        ("version", msi.version.clone()),
        ("product_code", msi.product_code.clone()),
        ("file", file),
        ("url", url.trim_end_matches('/').to_owned()),
        ("sha256", sha256.to_owned()),
        ("SHA256", sha256.to_uppercase()),
    ]
}

fn fill(template: &str, values: &Values) -> std::result::Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("a `{{` has no `}}`")?;
        let value = values.iter().find(|(known, _)| *known == name);
        let (_, value) = value.ok_or_else(|| format!("`{{{{{name}}}}}` is not known"))?;
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const CODE: &str = "{00000000-0000-8000-8000-000000000000}";

    /// The manifests of an MSI, by their names.
    fn written() -> Vec<(String, String)> {
        let dir = tempfile::tempdir().expect("a folder");
        let msi = Msi {
            file: dir.path().join("snapless-1.2.3-x64.msi"),
            version: "1.2.3".to_owned(),
            product_code: CODE.to_owned(),
        };
        fs::write(&msi.file, "an MSI").expect("written");
        let target = dir.path().join("package");
        write(&Layout::of_this_repository(), &msi, "https://a.example/x/", &target)
            .expect("written");
        let files = files_below(&target).expect("listed");
        let text = |file: &Path| fs::read_to_string(file).expect("text");
        let name = |file: &Path| file.file_name().expect("a name").to_string_lossy().into_owned();
        files.iter().map(|file| (name(file), text(file))).collect()
    }

    fn manifest(name: &str) -> String {
        written().into_iter().find(|(own, _)| own == name).expect("it was written").1
    }

    /// The values of the keys at the left margin.
    fn value<'a>(yaml: &'a str, key: &str) -> Option<&'a str> {
        let rest = yaml.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        rest.map(|value| value.trim().trim_matches('\''))
    }

    #[test]
    fn each_winget_manifest_has_what_its_schema_requires() {
        // "required" of the schemas 1.6.0 in microsoft/winget-cli.
        let required = [
            ("Snapless.Snapless.yaml", "version", &["DefaultLocale"][..]),
            (
                "Snapless.Snapless.locale.en-US.yaml",
                "defaultLocale",
                &["PackageLocale", "Publisher", "PackageName", "License", "ShortDescription"],
            ),
            ("Snapless.Snapless.installer.yaml", "installer", &["Installers", "InstallerType"]),
        ];
        for (name, kind, keys) in required {
            let yaml = manifest(name);
            assert_eq!(value(&yaml, "PackageIdentifier"), Some("Snapless.Snapless"));
            assert_eq!(value(&yaml, "PackageVersion"), Some("1.2.3"));
            assert_eq!(value(&yaml, "ManifestType"), Some(kind));
            assert_eq!(value(&yaml, "ManifestVersion"), Some("1.6.0"));
            for key in keys {
                assert!(value(&yaml, key).is_some(), "{name} has no {key}");
            }
            assert!(yaml.lines().all(|line| !line.contains('\t') && line.trim_end() == line));
        }
    }

    #[test]
    fn the_installer_is_named_by_address_digest_and_product_code() {
        let installer = manifest("Snapless.Snapless.installer.yaml");
        assert_eq!(value(&installer, "ProductCode"), Some(CODE));
        assert!(installer.contains("InstallerUrl: https://a.example/x/snapless-1.2.3-x64.msi\n"));
        let line = installer.lines().find(|line| line.contains("InstallerSha256")).expect("there");
        assert_eq!(line.trim().len(), "InstallerSha256: ".len() + 2 * 32);
        let install = manifest("chocolateyinstall.ps1");
        let lower = line.trim().trim_start_matches("InstallerSha256: ").to_lowercase();
        assert!(install.contains(&format!("checksum64     = '{lower}'")), "{install}");
        assert!(manifest("chocolateyuninstall.ps1").contains(&format!("'{CODE} /qn")));
    }

    #[test]
    fn the_upgrade_code_of_the_manifest_is_the_msi_s() {
        let layout = Layout::of_this_repository();
        let source = fs::read_to_string(layout.root().join("package/msi/snapless.wxs"));
        let source = source.expect("the MSI's source");
        let code = source.split("UpgradeCode=\"").nth(1).expect("it has one");
        let code = code.split('"').next().expect("a value").to_uppercase();
        let installer = manifest("Snapless.Snapless.installer.yaml");
        assert!(installer.contains(&format!("UpgradeCode: '{{{code}}}'")), "{installer}");
    }

    #[test]
    fn the_nuspec_has_what_chocolatey_requires() {
        use quick_xml::{Reader, events::Event};

        let text = manifest("snapless.nuspec");
        let mut reader = Reader::from_str(&text);
        let mut elements = Vec::new();
        loop {
            match reader.read_event().expect("well-formed") {
                Event::Start(start) => {
                    elements.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                }
                Event::Eof => break,
                _ => {}
            }
        }
        for name in ["package", "metadata", "id", "version", "authors", "description", "files"] {
            assert!(elements.iter().any(|element| element == name), "no {name}: {elements:?}");
        }
        assert!(text.contains("<version>1.2.3</version>"));
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_an_unknown_name_is_refused() {
        for (name, text) in written() {
            assert!(!text.contains("{{") && !text.contains("}}"), "{name}: {text}");
        }
        let msi =
            Msi { file: "x.msi".into(), version: "1".to_owned(), product_code: CODE.to_owned() };
        let values = values(&msi, SHA256, "https://a.example");
        assert!(fill("{{release}}", &values).expect_err("unknown").contains("release"));
        assert!(fill("{{version", &values).is_err());
        assert_eq!(fill("{{url}}/{{file}}", &values).expect("known"), "https://a.example/x.msi");
    }
}
