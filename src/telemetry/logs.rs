//! Logs: on standard error, as text for people and as one JSON object per line for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogFormat, LogSettings};

/// Why logs cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("`log.filter` is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the process writes logs already: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Writes the logs of this process from now on. Call it once, from `main`.
///
/// # Errors
/// When the filter cannot be read, or logs are written already.
pub fn install(settings: &LogSettings) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let terminal = io::stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    tracing_subscriber::registry().with(layer(json, terminal, io::stderr).with_filter(filter)).try_init()?;
    Ok(())
}

fn layer<W>(json: bool, color: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    if json { layer.json().flatten_event(true).boxed() } else { layer.with_ansi(color).boxed() }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, filter: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = layer(json, false, move || writer.clone()).with_filter(EnvFilter::new(filter));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(links = 3, "catalog loaded");
            tracing::debug!("detail");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn machines_read_one_object_per_line() {
        let text = written(true, "info");
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["links"]),
            (&"INFO".into(), &"catalog loaded".into(), &3.into())
        );
    }

    #[test]
    fn people_read_text_and_the_filter_holds() {
        assert_eq!(written(false, "info").lines().count(), 1);
        assert!(written(false, "debug").contains("detail"));
        assert!(written(false, "info").contains("catalog loaded links=3"));
    }
}
