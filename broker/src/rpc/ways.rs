//! Ways to sign in beside a password.

use rolltop_proto::v1::{
    self, list_sign_in_ways_response::Provider, sign_in_ways_server::SignInWays,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, RpcError, accounts::signed_in, attempt::On, caller};
use crate::{
    audit::{Entry, Outcome, Who},
    auth::{Act, ProgramError},
};

#[async_trait]
impl SignInWays for Api {
    async fn list_sign_in_ways(
        &self,
        _: Request<v1::ListSignInWaysRequest>,
    ) -> Result<Response<v1::ListSignInWaysResponse>, Status> {
        let provider = self.provider.as_ref().map(|provider| Provider {
            title: provider.config().title.clone(),
            path: "/oidc/sign-in".to_owned(),
        });
        Ok(Response::new(v1::ListSignInWaysResponse { provider }))
    }

    async fn allow_program(
        &self,
        request: Request<v1::AllowProgramRequest>,
    ) -> Result<Response<v1::AllowProgramResponse>, Status> {
        let attempt = self.attempt(&request, Act::AllowProgram, On::Nothing).await?;
        let allowed =
            self.programs.allow(&attempt.caller().user, &request.get_ref().challenge).await;
        let code = allowed.map(|code| code.expose().to_owned()).map_err(RpcError::from);
        attempt.answer(code.map(|code| v1::AllowProgramResponse { code }))
    }

    async fn sign_in_program(
        &self,
        request: Request<v1::SignInProgramRequest>,
    ) -> Result<Response<v1::SignInResponse>, Status> {
        let from = caller::address_of(&request)?;
        let v1::SignInProgramRequest { code, verifier } = request.into_inner();
        let who = Who::stranger(from);
        let look = self.programs.redeem(&code, &verifier);
        let is_guess = |error: &ProgramError| matches!(error, ProgramError::WrongCode);
        match self.accounts.look_at(from, look, is_guess).await {
            Ok(user) => {
                let opened = self.sessions.open(&user).await.map_err(RpcError::from)?;
                let who = who.named(user.name.as_str());
                let entry = Entry::new(Act::SignIn, &who, Outcome::Ok);
                self.audit.note(entry.detail("with", "browser"));
                Ok(Response::new(signed_in(&user, &opened)))
            }
            Err(error) => {
                let faulty = matches!(error, ProgramError::Store(_));
                let outcome = if faulty { Outcome::Failed } else { Outcome::Refused };
                self.audit.note(Entry::new(Act::SignIn, &who, outcome).because(&error));
                Err(RpcError::from(error).into())
            }
        }
    }
}
