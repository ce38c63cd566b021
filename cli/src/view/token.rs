//! Tokens for programs.

use rolltop_proto::v1::{CreateTokenResponse, Token};
use serde::Serialize;

use super::{ago, time};
use crate::output::{Column, Look, Table, Tone, View, clean};

/// `{"tokens": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct TokenList {
    tokens: Vec<TokenView>,
}

#[derive(Clone, Debug, Serialize)]
struct TokenView {
    id: String,
    name: String,
    user: String,
    scopes: Vec<String>,
    created_at: Option<String>,
    expires_at: Option<String>,
}

/// A token that was just made: the only time its text is shown.
#[derive(Debug, Serialize)]
pub(crate) struct NewTokenView {
    text: String,
    token: TokenView,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            user: token.user,
            scopes: token.scopes,
            created_at: time(token.created_at),
            expires_at: time(token.expires_at),
        }
    }
}

impl From<CreateTokenResponse> for NewTokenView {
    fn from(made: CreateTokenResponse) -> Self {
        Self { text: made.text, token: made.token.unwrap_or_default().into() }
    }
}

impl FromIterator<Token> for TokenList {
    fn from_iter<I: IntoIterator<Item = Token>>(tokens: I) -> Self {
        Self { tokens: tokens.into_iter().map(TokenView::from).collect() }
    }
}

impl View for NewTokenView {
    /// The token alone, for `TOKEN=$(rolltop token create ...)`.
    fn text(&self, _look: Look) -> String {
        format!("{}\n", clean(&self.text))
    }
}

impl View for TokenList {
    fn text(&self, look: Look) -> String {
        let columns = [
            Column::Left("ID"),
            Column::Left("USER"),
            Column::Left("NAME"),
            Column::Left("SCOPES"),
            Column::Left("CREATED"),
            Column::Left("EXPIRES"),
        ];
        let mut table = Table::new(columns, "no tokens");
        for token in &self.tokens {
            let plain = |text| (Tone::Normal, text);
            table.row([
                plain(token.id.clone()),
                plain(token.user.clone()),
                plain(token.name.clone()),
                plain(token.scopes.join(", ")),
                plain(ago(token.created_at.as_ref(), look)),
                plain(token.expires_at.clone().unwrap_or_default()),
            ]);
        }
        table.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::{earlier, look};

    #[test]
    fn a_new_token_is_alone_on_its_line_and_a_list_has_none() {
        let token = Token {
            id: "ab12".into(),
            name: "backup".into(),
            user: "ada".into(),
            scopes: vec!["read".into(), "operate".into()],
            created_at: earlier(3 * 86_400),
            expires_at: earlier(0),
        };
        let made = CreateTokenResponse { text: "rtk_x".into(), token: Some(token.clone()) };
        assert_eq!(NewTokenView::from(made).text(look()), "rtk_x\n");
        let list: TokenList = [token].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "ID    USER  NAME    SCOPES         CREATED  EXPIRES\n\
             ab12  ada   backup  read, operate  3 d ago  2026-01-02T03:04:05Z\n"
        );
    }
}
