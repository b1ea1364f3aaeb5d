//! Many rows in one statement.
//!
//! On PostgreSQL the rows travel as one array per column: the statement's text, and so its plan, is the same for any
//! number of rows. As `VALUES` each number of rows would be a statement of its own, with thousands of parameters, and
//! every connection would keep many of them.

use std::fmt::Write;

use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DbErr, EntityName, EntityTrait, Iterable, Value,
    sea_query::{Alias, Expr, ExprTrait, Func, InsertStatement, IntoIden, Query, SimpleExpr},
};

use super::is_postgres;

/// One column of all rows, as PostgreSQL writes an array.
struct Array {
    kind: &'static str,
    text: String,
}

/// An insert of these rows, all of whose columns are set; at most [`super::INSERT_ROWS`] of them. The caller adds what
/// happens on a conflict and what is answered, and runs it.
pub fn insert<A>(db: &impl ConnectionTrait, rows: Vec<A>) -> Result<InsertStatement, DbErr>
where
    A: ActiveModelTrait,
{
    type Column<A> = <<A as ActiveModelTrait>::Entity as EntityTrait>::Column;
    let mut statement = Query::insert();
    statement.into_table(A::Entity::default().table_ref());
    statement.columns(Column::<A>::iter().map(IntoIden::into_iden));
    if !is_postgres(db) {
        for row in rows {
            let values = Column::<A>::iter().map(|column| value_of(&row, column).map(Expr::value));
            let values: Vec<SimpleExpr> = values.collect::<Result<_, _>>()?;
            statement.values(values).map_err(|error| DbErr::Custom(error.to_string()))?;
        }
        return Ok(statement);
    }
    let mut arrays = Query::select();
    for column in Column::<A>::iter() {
        let mut array = Array { kind: "text[]", text: String::from("{") };
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                array.text.push(',');
            }
            array.push(&value_of(row, column)?)?;
        }
        array.text.push('}');
        // Side by side they go forward together, row by row.
        arrays.expr(Func::cust("unnest").arg(Expr::value(array.text).cast_as(Alias::new(array.kind))));
    }
    statement.select_from(arrays).map_err(|error| DbErr::Custom(error.to_string()))?;
    Ok(statement)
}

fn value_of<A: ActiveModelTrait>(
    row: &A,
    column: <A::Entity as EntityTrait>::Column,
) -> Result<Value, DbErr> {
    row.get(column).into_value().ok_or_else(|| DbErr::AttrNotSet(format!("{column:?}")))
}

impl Array {
    fn push(&mut self, value: &Value) -> Result<(), DbErr> {
        let (kind, known) = match value {
            Value::Bool(value) => ("boolean[]", value.map(|value| self.raw(value))),
            Value::Int(value) => ("int[]", value.map(|value| self.raw(value))),
            Value::BigInt(value) => ("bigint[]", value.map(|value| self.raw(value))),
            Value::Uuid(value) => ("uuid[]", value.map(|value| self.raw(value))),
            Value::String(value) => ("text[]", value.as_deref().map(|text| self.quoted(text))),
            Value::Json(value) => ("jsonb[]", value.as_deref().map(|json| self.quoted(&json.to_string()))),
            other => return Err(DbErr::Type(format!("no column of Waypost has {other:?}"))),
        };
        self.kind = kind;
        if known.is_none() {
            self.text.push_str("NULL");
        }
        Ok(())
    }

    fn raw(&mut self, value: impl std::fmt::Display) {
        // Writing into a text cannot fail.
        let _ = write!(self.text, "{value}");
    }

    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(c);
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_elements_of_arrays() {
        let mut array = Array { kind: "", text: String::new() };
        array.push(&Value::String(Some("a,\"b\\{}\nNULL é".to_owned()))).unwrap();
        assert_eq!((array.kind, array.text.as_str()), ("text[]", "\"a,\\\"b\\\\{}\nNULL é\""));
        let mut array = Array { kind: "", text: String::new() };
        array.push(&Value::BigInt(None)).unwrap();
        assert_eq!((array.kind, array.text.as_str()), ("bigint[]", "NULL"));
        assert!(array.push(&Value::Double(Some(1.0))).is_err());
    }
}
