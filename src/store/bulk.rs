//! Many rows in few statements.
//!
//! On PostgreSQL the rows travel as one array per column: the statement's text, and so its plan, is the same for any
//! number of rows. As `VALUES` each number of rows would be a statement of its own, with thousands of parameters, and
//! every connection would keep many of them.
//!
//! A statement takes one record of TLS at most. Connections of sqlx 0.9.0 leave Nagle's algorithm on: what follows the
//! first record of a longer statement is held until the server acknowledges that, which it delays for 40 ms.

use std::fmt::Write;

use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DbErr, EntityName, EntityTrait, Iterable, Value,
    sea_query::{Alias, Expr, ExprTrait, Func, InsertStatement, IntoIden, Query, SimpleExpr},
};

use super::{INSERT_ROWS, is_postgres};

/// One column of all rows, as PostgreSQL writes an array.
struct Array {
    kind: &'static str,
    text: String,
}

/// Bytes of rows in one statement: a record of TLS has 16,384, and there is more in a statement than its rows.
const MOST_BYTES: usize = 14_000;

type Column<A> = <<A as ActiveModelTrait>::Entity as EntityTrait>::Column;

/// Inserts of these rows, all of whose columns are set, in their order. The caller adds what happens on a conflict and
/// what is answered, and runs them.
pub fn inserts<A>(db: &impl ConnectionTrait, rows: &[A]) -> Result<Vec<InsertStatement>, DbErr>
where
    A: ActiveModelTrait,
{
    if !is_postgres(db) {
        return rows.chunks(INSERT_ROWS).map(insert_of_values).collect();
    }
    let mut statements = Vec::new();
    let mut arrays = Arrays::of::<A>();
    for row in rows {
        if arrays.bytes() >= MOST_BYTES {
            statements.push(std::mem::replace(&mut arrays, Arrays::of::<A>()).insert::<A>()?);
        }
        arrays.push(row)?;
    }
    if !arrays.is_empty() {
        statements.push(arrays.insert::<A>()?);
    }
    Ok(statements)
}

fn insert_into<A: ActiveModelTrait>() -> InsertStatement {
    let mut statement = Query::insert();
    statement.into_table(A::Entity::default().table_ref());
    statement.columns(Column::<A>::iter().map(IntoIden::into_iden));
    statement
}

fn insert_of_values<A: ActiveModelTrait>(rows: &[A]) -> Result<InsertStatement, DbErr> {
    let mut statement = insert_into::<A>();
    for row in rows {
        let values = Column::<A>::iter().map(|column| value_of(row, column).map(Expr::value));
        let values: Vec<SimpleExpr> = values.collect::<Result<_, _>>()?;
        statement.values(values).map_err(|error| DbErr::Custom(error.to_string()))?;
    }
    Ok(statement)
}

/// Rows column by column.
struct Arrays(Vec<Array>);

impl Arrays {
    fn of<A: ActiveModelTrait>() -> Self {
        Self(Column::<A>::iter().map(|_| Array { kind: "text[]", text: String::from("{") }).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Array::is_empty)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|array| array.text.len()).sum()
    }

    fn push<A: ActiveModelTrait>(&mut self, row: &A) -> Result<(), DbErr> {
        self.0.iter_mut().zip(Column::<A>::iter()).try_for_each(|(array, column)| {
            if !array.is_empty() {
                array.text.push(',');
            }
            array.push(&value_of(row, column)?)
        })
    }

    fn insert<A: ActiveModelTrait>(self) -> Result<InsertStatement, DbErr> {
        let mut rows = Query::select();
        for Array { kind, mut text } in self.0 {
            text.push('}');
            // Side by side they go forward together, row by row.
            rows.expr(Func::cust("unnest").arg(Expr::value(text).cast_as(Alias::new(kind))));
        }
        let mut statement = insert_into::<A>();
        statement.select_from(rows).map_err(|error| DbErr::Custom(error.to_string()))?;
        Ok(statement)
    }
}

fn value_of<A: ActiveModelTrait>(
    row: &A,
    column: <A::Entity as EntityTrait>::Column,
) -> Result<Value, DbErr> {
    row.get(column).into_value().ok_or_else(|| DbErr::AttrNotSet(format!("{column:?}")))
}

impl Array {
    /// An element takes a character at least.
    fn is_empty(&self) -> bool {
        self.text.len() == 1
    }

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
