//! JWTs of the fake provider: keys for the test, valid and invalid signatures.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The fault in the form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenForgery {
    /// `alg` is `none`, and there is no signature.
    AlgNone,
    /// The signature is cut off.
    Unsigned,
    /// A claim was changed after it was signed.
    Tampered,
    /// Signed by another key under the id of the provider's key.
    OtherKey,
    /// Signed by a key that the provider does not list.
    UnknownKey,
    /// HS256 with the public key as the secret.
    PublicAsSecret,
    /// With a critical header, which the reader must understand.
    Critical,
}

/// A key that signs.
pub(super) struct SigningKey {
    kid: String,
    kind: Kind,
}

enum Kind {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
}

impl SigningKey {
    /// RS256
    pub(super) fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Self { kid: kid.to_owned(), kind: Kind::Rsa(Box::new(pair)) }
    }

    /// ES256
    pub(super) fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("an EC key");
        Self { kid: kid.to_owned(), kind: Kind::Ec(pair) }
    }

    fn alg(&self) -> &'static str {
        match self.kind {
            Kind::Rsa(_) => "RS256",
            Kind::Ec(_) => "ES256",
        }
    }

    /// The key in the form that the provider publishes.
    pub(super) fn public(&self) -> Value {
        let mut jwk = json!({"kid": self.kid, "use": "sig", "alg": self.alg()});
        match &self.kind {
            Kind::Rsa(pair) => {
                // RSAPublicKey (RFC 8017, A.1.1) of 2048 bits: SEQUENCE, INTEGER with a leading
                // zero, INTEGER 65537.
                let der = pair.public_key().as_ref();
                jwk["kty"] = "RSA".into();
                jwk["n"] = encode(&der[9..265]).into();
                jwk["e"] = encode(&der[der.len() - 3..]).into();
            }
            Kind::Ec(pair) => {
                let point = pair.public_key().as_ref();
                jwk["kty"] = "EC".into();
                jwk["crv"] = "P-256".into();
                jwk["x"] = encode(&point[1..33]).into();
                jwk["y"] = encode(&point[33..65]).into();
            }
        }
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                let how: &'static dyn signature::RsaEncoding = &RSA_PKCS1_SHA256;
                pair.sign(how, &random, message, &mut out).expect("a signature");
                out
            }
            Kind::Ec(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    pub(super) fn token(&self, claims: &Value, forgery: Option<TokenForgery>) -> String {
        let mut header = json!({"typ": "JWT", "alg": self.alg(), "kid": self.kid});
        match forgery {
            Some(TokenForgery::AlgNone) => header["alg"] = "none".into(),
            Some(TokenForgery::PublicAsSecret) => header["alg"] = "HS256".into(),
            Some(TokenForgery::Critical) => {
                header["crit"] = json!(["odd"]);
                header["odd"] = json!(true);
            }
            Some(TokenForgery::UnknownKey) => header["kid"] = "nobody".into(),
            _ => {}
        }
        let part = |value: &Value| encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = match forgery {
            Some(TokenForgery::AlgNone | TokenForgery::Unsigned) => Vec::new(),
            Some(TokenForgery::OtherKey | TokenForgery::UnknownKey) => match self.kind {
                Kind::Rsa(_) => Self::rsa("other").sign(message.as_bytes()),
                Kind::Ec(_) => Self::ec("other").sign(message.as_bytes()),
            },
            Some(TokenForgery::PublicAsSecret) => {
                let public = self.public_der();
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), message.as_bytes())
                    .as_ref()
                    .to_vec()
            }
            _ => self.sign(message.as_bytes()),
        };
        if forgery == Some(TokenForgery::Tampered) {
            let mut claims = claims.clone();
            claims["email"] = "root@example.com".into();
            return format!("{}.{}.{}", part(&header), part(&claims), encode(&signature));
        }
        format!("{message}.{}", encode(&signature))
    }

    fn public_der(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Rsa(pair) => pair.public_key().as_der().expect("DER").as_ref().to_vec(),
            Kind::Ec(pair) => pair.public_key().as_der().expect("DER").as_ref().to_vec(),
        }
    }
}

/// Base64 without padding, as in URLs.
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
