use rustls::{
    ClientConnection, ServerConfig, ServerConnection,
    pki_types::PrivateKeyDer,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::*;

#[test]
fn fingerprints_are_read_in_every_usual_spelling() {
    let plain = format!("sha256:{}", "0aF1".repeat(16));
    let pairs = ["0A:F1"; 16].join(":");
    let canonical: Fingerprint = plain.parse().unwrap();
    assert_eq!(canonical.to_string(), plain.to_lowercase());
    assert_eq!(format!("SHA256:{pairs}").parse(), Ok(canonical));
}

#[test]
fn what_is_no_fingerprint_is_refused() {
    for text in [
        String::new(),
        "ab".repeat(32),
        format!("sha1:{}", "ab".repeat(20)),
        format!("sha256:{}", "ab".repeat(31)),
        format!("sha256:{}a", "ab".repeat(31)),
        format!("sha256:{}", "ab".repeat(33)),
        format!("sha256:{}zz", "ab".repeat(31)),
    ] {
        assert!(text.parse::<Fingerprint>().is_err(), "{text}");
    }
}

#[test]
fn a_pin_accepts_one_certificate_only() {
    let certificate = |name: &str| {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.der().clone()
    };
    let (ours, other) = (certificate("a"), certificate("a"));
    let pin = Pinned::new(Fingerprint::of(&ours));
    let name = ServerName::try_from("elsewhere").unwrap();
    let verify = |shown| pin.verify_server_cert(shown, &[], &name, &[], UnixTime::now());
    assert!(verify(&ours).is_ok());
    let error = verify(&other).unwrap_err();
    let rustls::Error::InvalidCertificate(CertificateError::Other(cause)) = error else {
        panic!("{error}");
    };
    let wrong = cause.0.downcast_ref::<WrongFingerprint>().unwrap();
    assert_eq!(wrong.found, Fingerprint::of(&other));
}

#[test]
fn a_file_without_a_certificate_is_told_apart() {
    let error = Trust::SignedBy { pem: "no certificate".into() }.tls_config().unwrap_err();
    assert!(matches!(error, TrustError::NoCertificate), "{error}");
}

/// A server that shows one certificate and signs with a key, be it the right one.
fn server(shown: &rcgen::Certificate, key: &rcgen::KeyPair) -> ServerConnection {
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let pair = CertifiedKey::new(vec![shown.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Lets both talk in memory until the client is content or objects.
fn shake_hands(trust: &Trust, mut server: ServerConnection) -> Result<(), rustls::Error> {
    let name = ServerName::try_from("anything").unwrap();
    let config = Arc::new(trust.tls_config().unwrap());
    let mut client = ClientConnection::new(config, name).unwrap();
    while client.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut left = wire.as_slice();
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

#[test]
fn a_copy_of_the_pinned_certificate_without_its_key_is_of_no_use() {
    let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let trust = Trust::Exactly(Fingerprint::of(made.cert.der()));
    shake_hands(&trust, server(&made.cert, &made.signing_key)).unwrap();

    let thiefs_key = rcgen::KeyPair::generate().unwrap();
    let error = shake_hands(&trust, server(&made.cert, &thiefs_key)).unwrap_err();
    assert_eq!(error, rustls::Error::InvalidCertificate(CertificateError::BadSignature));
}
