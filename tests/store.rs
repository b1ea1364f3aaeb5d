//! The store's own promises, on a real database file.

use waypost::store::{
    Store,
    sequences::{self, Sequence},
};

#[tokio::test]
async fn a_new_file_gets_the_schema_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = Store::sqlite_url(&folder.path().join("store.db"));
    let store = Store::open(&url).await.unwrap();
    assert_eq!(store.pending_migrations().await.unwrap(), Vec::<String>::new());
    store.close().await.unwrap();
    Store::open(&url).await.unwrap();
}

#[tokio::test]
async fn sequences_count_and_roll_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Store::sqlite_url(&folder.path().join("store.db"))).await.unwrap();
    let tx = store.begin().await.unwrap();
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 1);
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 3);
    drop(tx);
    let tx = store.begin().await.unwrap();
    assert_eq!(sequences::next(&tx, Sequence::Link).await.unwrap(), 3);
}
