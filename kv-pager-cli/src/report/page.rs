//! The page: headings, words, charts and tables, as HTML.
//! Uses `report::palette`. Known by: `report`.

use super::palette::{class, style};
use super::{Bars, Lines, Map, Points};
use std::fmt::Write as _;

/// A whole report.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// What it reports on.
    pub(crate) title: String,
    /// Of what, in one sentence.
    pub(crate) summary: String,
    /// What was found, the most important first.
    pub(crate) sections: Vec<Section>,
}

/// One finding.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// What is shown.
    pub(crate) heading: String,
    /// How to read it.
    pub(crate) words: String,
    /// How it is shown.
    pub(crate) figure: Figure,
}

/// How something is shown.
#[derive(Clone, Debug)]
pub(crate) enum Figure {
    /// Values over an axis.
    Lines(Lines),
    /// Values by category.
    Bars(Bars),
    /// Winners over two axes.
    Map(Map),
    /// Pairs that should be equal.
    Points(Points),
    /// Numbers.
    Rows(Rows),
}

/// A table: names to the left, numbers to the right.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// Names of the columns.
    pub(crate) header: Vec<String>,
    /// A name and its values.
    pub(crate) rows: Vec<Vec<String>>,
}

/// What the palette leaves to say.
const STYLE: &str = "\
*{box-sizing:border-box}:root{color-scheme:light dark;--page:#fbfaf7;--card:#fff;--text:#1d1d1b;--soft:#5e5d58;--rim:#e3e1da}\
@media(prefers-color-scheme:dark){:root{--page:#191917;--card:#22221f;--text:#ecebe6;--soft:#a5a49e;--rim:#34342f}}\
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif}\
main{max-width:75rem;margin:0 auto;padding:1.5rem 1rem 3rem}h1{font-size:1.5rem;line-height:1.2;margin:.5rem 0}\
h2{font-size:1.05rem;margin:0 0 .25rem}p{margin:0 0 .75rem;color:var(--soft)}header p{max-width:45rem;overflow-wrap:anywhere}\
.all{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr))}\
section{background:var(--card);border:1px solid var(--rim);border-radius:.6rem;padding:1rem;min-width:0}\
svg{display:block;width:100%;height:auto}ul{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:0 0 .5rem;padding:0;font-size:.9rem}\
li i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.4em;vertical-align:-.05em}\
.wide{grid-column:1/-1}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}\
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--rim);white-space:nowrap}th{color:var(--soft);font-weight:600}\
th:first-child,td:first-child{text-align:left}footer{color:var(--soft);font-size:.85rem;margin-top:1.5rem}";

impl Page {
    /// The page, complete (RP1).
    pub(crate) fn to_html(&self) -> String {
        let mut html = String::new();
        let (title, summary) = (escaped(&self.title), escaped(&self.summary));
        let palette = style();
        write!(
            html,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title>\
             <style>{STYLE}{palette}</style></head>\n<body><main><header><h1>{title}</h1><p>{summary}</p></header>\n\
             <div class=\"all\">\n"
        )
        .expect("a string takes everything");
        for section in &self.sections {
            section.write(&mut html);
        }
        let version = env!("CARGO_PKG_VERSION");
        writeln!(html, "</div><footer>kv-pager {version}</footer></main></body></html>")
            .expect("a string takes everything");
        html
    }
}

impl Section {
    fn write(&self, html: &mut String) {
        let is_wide = matches!(self.figure, Figure::Rows(_));
        let class_of = if is_wide { " class=\"wide\"" } else { "" };
        let (heading, words) = (escaped(&self.heading), escaped(&self.words));
        write!(html, "<section{class_of}><h2>{heading}</h2><p>{words}</p>")
            .expect("a string takes everything");
        match &self.figure {
            Figure::Lines(chart) => {
                write_legend(html, chart.series.iter().map(|line| line.name.as_str()));
                html.push_str(&labelled(&chart.draw(), &heading));
            }
            Figure::Bars(chart) => {
                write_legend(html, chart.series.iter().map(|(name, _)| name.as_str()));
                html.push_str(&labelled(&chart.draw(), &heading));
            }
            Figure::Map(chart) => {
                write_legend(html, chart.names.iter().map(String::as_str));
                html.push_str(&labelled(&chart.draw(), &heading));
            }
            Figure::Points(chart) => {
                write_legend(html, chart.series.iter().map(|(name, _)| name.as_str()));
                html.push_str(&labelled(&chart.draw(), &heading));
            }
            Figure::Rows(rows) => rows.write(html),
        }
        html.push_str("</section>\n");
    }
}

impl Rows {
    fn write(&self, html: &mut String) {
        html.push_str("<div class=\"scroll\"><table><thead><tr>");
        for name in &self.header {
            write!(html, "<th scope=\"col\">{}</th>", escaped(name)).expect("a string takes everything");
        }
        html.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            html.push_str("<tr>");
            for value in row {
                write!(html, "<td>{}</td>", escaped(value)).expect("a string takes everything");
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table></div>");
    }
}

/// What each colour means. One series needs no legend: the heading names it.
fn write_legend<'a>(html: &mut String, names: impl Iterator<Item = &'a str> + Clone) {
    if names.clone().count() < 2 {
        return;
    }
    html.push_str("<ul>");
    for (index, name) in names.enumerate() {
        write!(html, "<li><i class=\"{}\"></i>{}</li>", class(index), escaped(name))
            .expect("a string takes everything");
    }
    html.push_str("</ul>");
}

/// The drawing with its name, for those who hear it.
fn labelled(svg: &str, escaped_name: &str) -> String {
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{escaped_name}\" "), 1)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(letter),
        }
    }
    safe
}
