//! `tunneld manual`: the manual page tunneld(8), from the same source as `--help`.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Cli;

/// Prints the page.
///
/// # Errors
/// Standard output.
pub fn run() -> anyhow::Result<()> {
    Ok(super::print(&page()?)?)
}

/// One page for all commands, where `clap_mangen` alone would make one for each.
fn page() -> anyhow::Result<String> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let man = Man::new(program.clone()).section("8").manual("System administration");
    let mut page = section(|page| {
        man.render_title(page)?;
        man.render_name_section(page)?;
        man.render_synopsis_section(page)?;
        man.render_description_section(page)
    })?;
    page.push_str(&Roff::new().control("SH", ["COMMANDS"]).to_roff());
    for command in program.get_subcommands().flat_map(leaves) {
        page.push_str(&describe(command)?);
    }
    for (title, lines) in paragraphs(&program) {
        let title = title.to_uppercase();
        page.push_str(&Roff::new().control("SH", [title.as_str()]).to_roff());
        page.push_str(&as_they_are(lines));
    }
    Ok(page)
}

/// The commands that can be run of `command`: those below it, or itself.
fn leaves(command: &Command) -> Vec<&Command> {
    if command.has_subcommands() {
        command.get_subcommands().flat_map(leaves).collect()
    } else {
        vec![command]
    }
}

/// A command as a part of the page: synopsis, purpose, options, example.
fn describe(command: &Command) -> anyhow::Result<String> {
    let man = Man::new(command.clone());
    let mut text =
        Roff::new().control("SS", [command.get_bin_name().unwrap_or_default()]).to_roff();
    text.push_str(body(&section(|page| man.render_synopsis_section(page))?));
    text.push_str(&Roff::new().control("PP", []).to_roff());
    text.push_str(body(&section(|page| man.render_description_section(page))?));
    text.push_str(body(&section(|page| man.render_options_section(page))?));
    for (title, lines) in paragraphs(command) {
        text.push_str(&Roff::new().control("PP", []).text([roman(format!("{title}:"))]).to_roff());
        text.push_str(&as_they_are(lines));
    }
    Ok(text)
}

/// What `render` writes.
fn section(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> anyhow::Result<String> {
    let mut text = Vec::new();
    render(&mut text)?;
    Ok(String::from_utf8(text)?)
}

/// A section without its heading.
fn body(section: &str) -> &str {
    let (_, heading) = section.split_once(".SH ").unwrap_or_default();
    heading.split_once('\n').map_or("", |(_, body)| body)
}

/// What the help of `command` ends with: titles, and the lines of each.
fn paragraphs(command: &Command) -> Vec<(String, String)> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let paragraphs = help.split("\n\n").filter_map(|paragraph| {
        let (title, lines) = paragraph.split_once('\n')?;
        Some((title.trim_end_matches(':').to_owned(), lines.to_owned()))
    });
    paragraphs.collect()
}

/// Lines that are not to be filled.
fn as_they_are(lines: String) -> String {
    let mut text = Roff::new();
    text.control("nf", []);
    for line in lines.lines() {
        text.text([roman(line.trim_start())]);
    }
    text.control("fi", []);
    text.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_option_and_paragraph_of_the_help() {
        let page = page().unwrap().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
        assert!(page.contains(".TH tunneld 8 "), "{page}");
        for heading in ["NAME", "SYNOPSIS", "COMMANDS", "\"EXIT STATUS\"", "FILES", "ENVIRONMENT"] {
            assert_eq!(page.matches(&format!(".SH {heading}\n")).count(), 1, "{heading}\n{page}");
        }
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        for command in program.get_subcommands().flat_map(leaves) {
            let name = command.get_bin_name().unwrap();
            assert!(page.contains(&format!(".SS \"{name}\"\n")), "{name}\n{page}");
            for option in command.get_arguments().filter_map(|option| option.get_long()) {
                assert!(page.contains(&format!("--{option}")), "{name} --{option}\n{page}");
            }
        }
        assert!(page.contains("tunneld genpsk > /etc/tunneld/psk"), "{page}");
    }
}
