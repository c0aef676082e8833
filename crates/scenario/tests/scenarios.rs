//! Every scenario of the laboratory, by the reference evaluator.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tortie_scenario::{Format, Report, ScenarioReport, Source, load, test};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab").join(name)
}

fn documents(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .expect("the folder exists")
        .map(|e| e.expect("its entries can be read").path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

fn sources(path: &Path) -> Result<Vec<Source>, String> {
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Source { name: file.display().to_string(), text })
    };
    documents(path).iter().map(read).collect()
}

fn run(file: &Path) -> ScenarioReport {
    let text = fs::read_to_string(file).expect("the scenario can be read");
    let name = file.file_name().expect("it is a file").to_string_lossy().into_owned();
    let folder = file.parent().expect("it is in a folder").to_owned();
    match load(&name, &text, &|path: &str| sources(&folder.join(path))) {
        Ok(plan) => test(&plan, &|| Duration::ZERO),
        Err(problems) => ScenarioReport::unreadable(&name, problems),
    }
}

#[test]
fn every_scenario_is_as_expected() {
    let files = documents(&folder("scenarios"));
    let report = Report { scenarios: files.iter().map(|f| run(f)).collect() };
    assert!(report.scenarios.len() >= 25, "{}", report.scenarios.len());
    assert_eq!(report.exit_status(), 0, "\n{}", report.render(Format::Table));
    for scenario in &report.scenarios {
        let probes: usize = scenario.steps.iter().map(|s| s.probes).sum();
        assert!(probes > 0, "{} probes nothing", scenario.name);
        assert_eq!(
            &*scenario.source,
            format!("{}.yaml", scenario.name),
            "a scenario is called like its file"
        );
    }
}
