/** A certificate authority of the sandbox's own, and server certificates for localhost from it. */

import "reflect-metadata"; // the certificate library's dependency injection asks for it
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

export interface CertificateAuthority {
  readonly certificate: string;
  readonly privateKey: string;
}

const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256" } as const;
const signingAlgorithm = { name: "ECDSA", hash: "SHA-256" } as const;
const dayMs = 86_400_000;

x509.cryptoProvider.set(webcrypto);

/** PEM texts of a new authority, valid for ten years. */
export async function createAuthority(commonName: string): Promise<CertificateAuthority> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [commonName] }],
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + 3650 * dayMs),
    keys,
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(certificate), privateKey: await privateKeyPem(keys) };
}

/** Days from now on which a certificate begins and ends to be good. */
export interface Validity {
  readonly fromDay: number;
  readonly toDay: number;
}

/** A server certificate for localhost, 127.0.0.1 and more DNS names, valid for a year unless said, and its key. */
export async function createServerCertificate(
  authority: CertificateAuthority,
  dnsNames: readonly string[] = [],
  { fromDay, toDay }: Validity = { fromDay: -1, toDay: 365 },
): Promise<{ certificate: string; privateKey: string }> {
  const keys = await newKeys();
  const issuer = new x509.X509Certificate(authority.certificate);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: ["localhost"] }],
    issuer: issuer.subjectName,
    notBefore: new Date(Date.now() + fromDay * dayMs),
    notAfter: new Date(Date.now() + toDay * dayMs),
    publicKey: keys.publicKey,
    signingKey: await importPrivateKey(authority.privateKey),
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: "localhost" },
        { type: "ip", value: "127.0.0.1" },
        ...dnsNames.map((value) => ({ type: "dns" as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return { certificate: pem(certificate), privateKey: await privateKeyPem(keys) };
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

async function newKeys() {
  return await webcrypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
}

async function privateKeyPem(keys: { privateKey: webcrypto.CryptoKey }): Promise<string> {
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`;
}

async function importPrivateKey(text: string) {
  const pkcs8 = x509.PemConverter.decodeFirst(text);
  return await webcrypto.subtle.importKey("pkcs8", pkcs8, keyAlgorithm, false, ["sign"]);
}

/** Positive and at most 20 octets, as RFC 5280 4.1.2.2 wants it. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}
