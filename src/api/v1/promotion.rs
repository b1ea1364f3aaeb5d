//! Who promotes what: the program and the affiliate of a new link or coupon.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use super::lookup;
use crate::{
    api::{
        error::{ApiError, FieldError},
        fields::{Fields, Input},
    },
    domain::{ids::AccountId, reason::Standing},
    store::entities::{affiliate, enrolment, program},
};

/// The names as a client gave them.
#[derive(Debug)]
pub struct Named {
    program: Option<String>,
    affiliate: Option<String>,
}

impl Named {
    /// Reads `program` and, unless the path names it, `affiliate`.
    pub fn read(fields: &mut Fields, affiliate_of_path: Option<&str>) -> Self {
        let program = fields.optional("program", None, Input::text);
        let affiliate = match affiliate_of_path {
            Some(slug) => {
                fields.unchanging("affiliate", slug);
                Some(slug.to_owned())
            }
            None => fields.required("affiliate", None, Input::text),
        };
        Self { program, affiliate }
    }

    /// Finds them. The affiliate must be enrolled in the program, approved or waiting for it. A program that is not
    /// named is the only one in which the affiliate is enrolled.
    pub async fn find(
        &self,
        db: &impl ConnectionTrait,
        account: AccountId,
    ) -> Result<(program::Model, affiliate::Model), ApiError> {
        let mut errors = Vec::new();
        let slug = self.affiliate.as_deref().unwrap_or_default();
        let affiliate = found("affiliate", lookup::affiliate(db, account, slug).await, &mut errors)?;
        let program = match &self.program {
            None => None,
            Some(slug) => found("program", lookup::program(db, account, slug).await, &mut errors)?,
        };
        let Some(affiliate) = affiliate.filter(|_| errors.is_empty()) else {
            return Err(ApiError::Invalid(errors));
        };
        let enrolled: Vec<enrolment::Model> = enrolment::Entity::find()
            .filter(enrolment::Column::AccountId.eq(account.0))
            .filter(enrolment::Column::AffiliateId.eq(affiliate.id))
            .all(db)
            .await?;
        let program = match program {
            Some(program) => program,
            None => only_program(db, &enrolled).await?,
        };
        let standing =
            enrolled.iter().find(|row| row.program_id == program.id).map(|row| row.standing.as_str());
        match standing.and_then(Standing::parse) {
            Some(Standing::Approved | Standing::Pending) => Ok((program, affiliate)),
            Some(standing) => {
                Err(ApiError::field("affiliate", format!("is {standing} in the program {}", program.slug)))
            }
            None => {
                let path = format!("/v1/programs/{}/affiliates/{}", program.slug, affiliate.slug);
                Err(ApiError::field(
                    "affiliate",
                    format!("is not enrolled in the program {}; PUT {path} first", program.slug),
                ))
            }
        }
    }
}

/// What is not there is a wrong value of its field, not a missing page.
fn found<T>(
    field: &'static str,
    row: Result<T, ApiError>,
    errors: &mut Vec<FieldError>,
) -> Result<Option<T>, ApiError> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(ApiError::NotFound(what)) => {
            errors.push(FieldError::new(field, format!("there is no such {what}")));
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

async fn only_program(
    db: &impl ConnectionTrait,
    enrolled: &[enrolment::Model],
) -> Result<program::Model, ApiError> {
    let found = program::Entity::find()
        .filter(program::Column::Id.is_in(enrolled.iter().map(|row| row.program_id)))
        .filter(program::Column::DeletedAt.is_null())
        .all(db)
        .await?;
    match <[program::Model; 1]>::try_from(found) {
        Ok([only]) => Ok(only),
        Err(_) => Err(ApiError::field("program", "is required: the affiliate is not in exactly one program")),
    }
}
