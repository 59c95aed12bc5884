//! Addresses as people write them, with every variable that libpq reads.

use std::collections::BTreeSet;

use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Address, String> {
    let found = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Address::from_parts(conninfo::parse(text).unwrap(), found)
}

fn shown(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    read(text, variables).unwrap().routes.iter().map(Address::shown).collect()
}

#[test]
fn every_host_is_a_route_and_what_is_left_out_comes_from_the_variables() {
    assert_eq!(shown("postgres://[::1]:5433/db", &[]), ["::1:5433"]);
    assert_eq!(shown("postgres://a,b:2/db", &[]), ["a:5432", "b:2"]);
    assert_eq!(shown("postgres://a,b/db?port=7", &[]), ["a:7", "b:7"]);
    assert_eq!(shown("postgres:///db?host=/tmp/x", &[]), ["/tmp/x/.s.PGSQL.5432"]);
    assert_eq!(shown("postgres://%2Ftmp%2Fx:9/db", &[]), ["/tmp/x/.s.PGSQL.9"]);
    assert_eq!(shown("postgres://?user=me", &[("PGHOST", "h"), ("PGPORT", "1")]), ["h:1"]);
    assert_eq!(shown("postgres://g", &[("PGHOST", "h"), ("PGPORT", "1")]), ["g:1"]);
    let settings = read("postgres://h/d?options=-c%20a=b --c-d=e\\ f&keepalives_idle=9", &[]).unwrap().settings;
    let settings: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(settings, ["a=b", "c_d=e f", "tcp_keepalives_idle=9"]);
}

#[test]
fn tls_is_tried_as_libpq_tries_it_and_never_on_a_socket() {
    let modes = |text| -> Vec<String> {
        let address = read(text, &[]).unwrap();
        address.routes.iter().map(|options| format!("{:?}", options.get_ssl_mode())).collect()
    };
    assert_eq!(modes("postgres://h/d?sslmode=allow"), ["Disable", "Require"]);
    assert_eq!(modes("postgres://h/d?sslrootcert=system"), ["VerifyFull"]);
    assert_eq!(modes("postgres://h/d?sslmode=require&sslrootcert=/etc/hostname"), ["VerifyCa"]);
    assert_eq!(modes("postgres:///d?host=/tmp&sslmode=require"), ["Disable"]);
}

#[test]
fn what_cannot_be_obeyed_is_refused_by_name_and_without_its_value() {
    for (text, name) in [
        ("postgres://h/d?gssencmode=require", "gssencmode"),
        ("postgres://h/d?channel_binding=require", "channel_binding"),
        ("postgres://h/d?sslpassword=hunter2", "sslpassword"),
        ("postgres://h/d?sslrootcert=/no/hunter2", "sslrootcert"),
        ("postgres://h/d?sslcrl=/hunter2", "sslcrl"),
        ("postgres://h/d?require_auth=hunter2", "require_auth"),
        ("postgres://h/d?client_encoding=latin1", "client_encoding"),
        ("postgres://h/d?sslmode=hunter2", "sslmode"),
        ("postgres://h/d?options=hunter2", "options"),
        ("postgres://h/d?connect_timeout=hunter2", "connect_timeout"),
        ("postgres://h/d?port=hunter2", "port"),
        ("postgres://h/d?service=none", "service"),
        ("postgres://h/d?target_session_attrs=hunter2", "target_session_attrs"),
    ] {
        let error = read(text, &[]).err().unwrap_or_else(|| panic!("{text} is taken"));
        assert!(error.contains(name) && !error.contains("hunter2"), "{text}: {error}");
    }
    read("postgres://h/d?gssencmode=disable&client_encoding=UTF8&keepalives=1&sslsni=1", &[]).unwrap();
}

#[test]
fn every_variable_stands_for_another_parameter() {
    let names: BTreeSet<_> = VARIABLES.iter().map(|(_, parameter)| parameter).collect();
    assert_eq!(names.len(), VARIABLES.len());
}
