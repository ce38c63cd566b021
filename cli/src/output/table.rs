//! Tables with aligned columns, and lists of named fields.

use unicode_width::UnicodeWidthStr as _;

use super::text::{Paint, Tone, clean};

const GAP: &str = "  ";

/// Heading and alignment of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Left(&'static str),
    /// For numbers and sizes.
    Right(&'static str),
}

/// Rows under headings. What is put in is cleaned, so that no cell can break
/// out of its place.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(Tone, String)>>,
    /// Said in place of a table without rows.
    empty: &'static str,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [Column; N], empty: &'static str) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), empty }
    }

    /// Adds a row: one text for each column. What is empty shows as "-".
    pub(crate) fn row<const N: usize>(&mut self, cells: [(Tone, String); N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into_iter().map(|(tone, text)| (tone, shown(&text))).collect());
    }

    pub(crate) fn render(&self, paint: Paint) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.empty);
        }
        let head = self.columns.iter().map(|column| (Tone::Heading, column.title().to_owned()));
        let head: Vec<_> = head.collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = std::iter::once(&head).chain(&self.rows);
                cells.filter_map(|row| row.get(at)).map(|(_, text)| text.width()).max().unwrap_or(0)
            })
            .collect();
        std::iter::once(&head).chain(&self.rows).map(|row| self.line(row, &widths, paint)).collect()
    }

    fn line(&self, row: &[(Tone, String)], widths: &[usize], paint: Paint) -> String {
        let mut line = String::new();
        for (((tone, text), width), column) in row.iter().zip(widths).zip(&self.columns) {
            let pad = " ".repeat(width - text.width());
            let text = paint.tone(*tone, text);
            match column {
                Column::Left(_) => line.extend([text.as_str(), &pad, GAP]),
                Column::Right(_) => line.extend([pad.as_str(), &text, GAP]),
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Left(title) | Self::Right(title) => title,
        }
    }
}

/// One thing: names on the left, values on the right.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, Tone, String)>);

impl Fields {
    pub(crate) fn field(&mut self, name: &'static str, value: impl AsRef<str>) -> &mut Self {
        self.toned(name, Tone::Normal, value)
    }

    pub(crate) fn toned(
        &mut self,
        name: &'static str,
        tone: Tone,
        value: impl AsRef<str>,
    ) -> &mut Self {
        self.0.push((name, tone, shown(value.as_ref())));
        self
    }

    pub(crate) fn render(&self, paint: Paint) -> String {
        let width = self.0.iter().map(|(name, ..)| name.width()).max().unwrap_or(0);
        self.0
            .iter()
            .map(|(name, tone, value)| {
                let pad = " ".repeat(width - name.width());
                format!("{}{pad}{GAP}{}\n", paint.tone(Tone::Faint, name), paint.tone(*tone, value))
            })
            .collect()
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { clean(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell(text: &str) -> (Tone, String) {
        (Tone::Normal, text.to_owned())
    }

    #[test]
    fn columns_line_up() {
        let mut table =
            Table::new([Column::Left("NAME"), Column::Right("SIZE"), Column::Left("NOTE")], "none");
        table.row([cell("ada"), cell("7 B"), cell("")]);
        table.row([cell("世界"), cell("1.5 GiB"), cell("x\ny")]);
        assert_eq!(
            table.render(Paint::Plain),
            "NAME     SIZE  NOTE\n\
             ada       7 B  -\n\
             世界  1.5 GiB  x\u{fffd}y\n"
        );
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new([Column::Left("A"), Column::Left("B")], "none");
        table.row([(Tone::Good, "up".into()), cell("1")]);
        table.row([(Tone::Bad, "failed".into()), cell("2")]);
        let plain = table.render(Paint::Plain);
        let coloured = table.render(Paint::Colour);
        assert_ne!(plain, coloured);
        assert_eq!(plain, strip(&coloured));
    }

    fn strip(text: &str) -> String {
        ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"]
            .iter()
            .fold(text.to_owned(), |text, code| text.replace(code, ""))
    }

    #[test]
    fn nothing_to_show_is_said() {
        assert_eq!(Table::new([Column::Left("A")], "no hosts").render(Paint::Plain), "no hosts\n");
    }

    #[test]
    fn fields_line_up() {
        let mut fields = Fields::default();
        fields.field("id", "demo/ada").field("addresses", "10.77.0.5");
        assert_eq!(fields.render(Paint::Plain), "id         demo/ada\naddresses  10.77.0.5\n");
    }

    proptest! {
        #[test]
        fn every_row_is_one_line(cells in proptest::collection::vec(("\\PC*|[\\x00-\\x1f]{3}", ".*"), 1..8)) {
            let mut table = Table::new([Column::Left("A"), Column::Right("B")], "none");
            for (a, b) in &cells {
                table.row([cell(a), cell(b)]);
            }
            prop_assert_eq!(table.render(Paint::Plain).lines().count(), cells.len() + 1);
        }
    }
}
