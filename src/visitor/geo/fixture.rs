//! Writes small MaxMind-format databases for tests: an IPv6 tree of 32-bit records, one map per network.

use ipnet::IpNet;

#[derive(Clone, Copy)]
enum Slot {
    Empty,
    Node(u32),
    /// Offset in the data section.
    Data(u32),
}

/// The entry of a network, encoded.
pub(crate) struct Entry(Vec<u8>);

impl Entry {
    /// `{"country_code": code}`
    pub(crate) fn flat_country(code: &str) -> Self {
        Self([map(1), text("country_code"), text(code)].concat())
    }

    /// `{"country": {"iso_code": code}}`
    pub(crate) fn nested_country(code: &str) -> Self {
        Self([map(1), text("country"), map(1), text("iso_code"), text(code)].concat())
    }

    /// `{"autonomous_system_number": number}`
    pub(crate) fn network(number: u32) -> Self {
        Self([map(1), text("autonomous_system_number"), uint32(number)].concat())
    }
}

/// A database in which no network contains another.
pub(crate) fn database(entries: &[(&str, Entry)]) -> Vec<u8> {
    let mut nodes = vec![[Slot::Empty; 2]];
    let mut data = Vec::new();
    for (network, entry) in entries {
        let (bits, length) = match network.parse().unwrap() {
            IpNet::V4(net) => (u128::from(u32::from(net.network())), net.prefix_len() + 96),
            IpNet::V6(net) => (u128::from(net.network()), net.prefix_len()),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = (bits >> (127 - depth)) as usize & 1;
            if depth + 1 == length {
                nodes[node][side] = Slot::Data(data.len() as u32);
                break;
            }
            node = match nodes[node][side] {
                Slot::Node(next) => next as usize,
                Slot::Empty => {
                    nodes.push([Slot::Empty; 2]);
                    nodes[node][side] = Slot::Node(nodes.len() as u32 - 1);
                    nodes.len() - 1
                }
                Slot::Data(_) => panic!("{network} lies within another network"),
            };
        }
        data.extend_from_slice(&entry.0);
    }

    let count = nodes.len() as u32;
    let mut file = Vec::new();
    for slot in nodes.iter().flatten() {
        let value = match slot {
            Slot::Empty => count,
            Slot::Node(node) => *node,
            Slot::Data(offset) => count + 16 + offset,
        };
        file.extend_from_slice(&value.to_be_bytes());
    }
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    file.extend_from_slice(&metadata(count));
    file
}

fn metadata(nodes: u32) -> Vec<u8> {
    [
        map(9),
        [text("binary_format_major_version"), uint16(2)].concat(),
        [text("binary_format_minor_version"), uint16(0)].concat(),
        [text("build_epoch"), uint64(1_700_000_000)].concat(),
        [text("database_type"), text("Test")].concat(),
        // Empty, as real ones have it.
        [text("description"), map(0)].concat(),
        [text("ip_version"), uint16(6)].concat(),
        [text("languages"), array_of_one(text("en"))].concat(),
        [text("node_count"), uint32(nodes)].concat(),
        [text("record_size"), uint16(32)].concat(),
    ]
    .concat()
}

fn map(pairs: u8) -> Vec<u8> {
    vec![7 << 5 | pairs]
}

fn text(text: &str) -> Vec<u8> {
    assert!(text.len() < 29, "longer texts have another head");
    [&[2 << 5 | text.len() as u8], text.as_bytes()].concat()
}

fn uint16(number: u16) -> Vec<u8> {
    [&[5 << 5 | 2][..], &number.to_be_bytes()].concat()
}

fn uint32(number: u32) -> Vec<u8> {
    [&[6 << 5 | 4][..], &number.to_be_bytes()].concat()
}

fn uint64(number: u64) -> Vec<u8> {
    [&[8, 2][..], &number.to_be_bytes()].concat()
}

fn array_of_one(element: Vec<u8>) -> Vec<u8> {
    [vec![1, 4], element].concat()
}
