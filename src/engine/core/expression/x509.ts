/**
 * X.509 certificates (RFC 5280) as .NET shows them. Read from the DER itself: node:crypto does not tell object
 * identifiers, and writes names in its own form.
 */
import { createHash } from "node:crypto";
import type { DateTime } from "../values.ts";
import { fromParts } from "./dates.ts";

export interface Certificate {
  /** SHA-1 of the DER, in capital hexadecimal. */
  readonly thumbprint: string;
  readonly version: number;
  /** Capital hexadecimal, as encoded. */
  readonly serialNumber: string;
  readonly signatureAlgorithm: string;
  readonly issuer: DistinguishedName;
  readonly subject: DistinguishedName;
  readonly notBefore: DateTime;
  readonly notAfter: DateTime;
  readonly keyAlgorithm: string;
  /** The DER of the key algorithm's parameters in capital hexadecimal, "" without any. */
  readonly keyAlgorithmParameters: string;
  readonly extensions: readonly {
    readonly oid: string;
    readonly critical: boolean;
    readonly value: Uint8Array;
  }[];
}

/** In the order of the encoding, the country usually first. */
export type DistinguishedName = readonly (readonly { readonly oid: string; readonly value: string }[])[];

export interface AlternativeNames {
  readonly email: readonly string[];
  readonly dns: readonly string[];
  readonly url: readonly string[];
  readonly upn: readonly string[];
}

export const oids = {
  commonName: "2.5.4.3",
  organization: "2.5.4.10",
  unit: "2.5.4.11",
  email: "1.2.840.113549.1.9.1",
};
const subjectAltName = "2.5.29.17";
const issuerAltName = "2.5.29.18";
const userPrincipalName = "1.3.6.1.4.1.311.20.2.3";

/** Undefined when the bytes are no certificate. */
export function parseCertificate(der: Uint8Array): Certificate | undefined {
  try {
    return readCertificate(der);
  } catch (error) {
    if (error instanceof NotDer) return undefined;
    throw error;
  }
}

class NotDer extends Error {}

const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
  /** With tag and length. */
  readonly whole: Uint8Array;
}

function readCertificate(der: Uint8Array): Certificate {
  const [certificate, ...trailing] = elements(der);
  if (trailing.length > 0) throw new NotDer();
  const [tbs, signature, bits] = elements(content(certificate, tags.sequence));
  content(signature, tags.sequence);
  content(bits, tags.bitString);
  const fields = elements(content(tbs, tags.sequence));
  const next = () => fields.shift();

  let version = 1;
  if (fields[0]?.tag === 0xa0) {
    const [number] = elements(next()!.content);
    version = (content(number, tags.integer)[0] ?? 0) + 1;
  }
  const serialNumber = hex(content(next(), tags.integer));
  const signatureAlgorithm = readOid(elements(content(next(), tags.sequence))[0]);
  const issuer = readName(next());
  const [notBefore, notAfter] = elements(content(next(), tags.sequence));
  const subject = readName(next());
  const [algorithm] = elements(content(next(), tags.sequence));
  const [keyAlgorithm, parameters] = elements(content(algorithm, tags.sequence));
  const extensions = fields.find((field) => field.tag === 0xa3);
  return {
    thumbprint: createHash("sha1").update(der).digest("hex").toUpperCase(),
    version,
    serialNumber,
    signatureAlgorithm,
    issuer,
    subject,
    notBefore: readTime(notBefore),
    notAfter: readTime(notAfter),
    keyAlgorithm: readOid(keyAlgorithm),
    keyAlgorithmParameters: parameters === undefined ? "" : hex(parameters.whole),
    extensions:
      extensions === undefined
        ? []
        : elements(content(elements(extensions.content)[0], tags.sequence)).map((extension) => {
            const [oid, ...rest] = elements(content(extension, tags.sequence));
            const critical = rest.length > 1 && (content(rest.shift(), tags.boolean)[0] ?? 0) !== 0;
            return { oid: readOid(oid), critical, value: content(rest[0], tags.octetString) };
          }),
  };
}

function elements(bytes: Uint8Array): Element[] {
  const found: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at]!;
    let length = bytes[at + 1] ?? 0x80;
    let start = at + 2;
    if (length >= 0x80) {
      const count = length & 0x7f;
      if (count < 1 || count > 4 || start + count > bytes.length) throw new NotDer();
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + bytes[start + i]!;
      start += count;
    }
    const end = start + length;
    if ((tag & 0x1f) === 0x1f || end > bytes.length) throw new NotDer();
    found.push({ tag, content: bytes.subarray(start, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return found;
}

function content(element: Element | undefined, tag: number): Uint8Array {
  if (element?.tag !== tag) throw new NotDer();
  return element.content;
}

function readOid(element: Element | undefined): string {
  const bytes = content(element, tags.oid);
  const arcs: bigint[] = [];
  let arc = 0n;
  if (bytes.length > 128) throw new NotDer();
  for (const byte of bytes) {
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    if (byte >= 0x80) continue;
    arcs.push(arc);
    arc = 0n;
  }
  const [first, ...others] = arcs;
  if (first === undefined) throw new NotDer();
  const root = first < 80n ? first / 40n : 2n;
  return [root, first - root * 40n, ...others].join(".");
}

function readTime(element: Element | undefined): DateTime {
  const text = Buffer.from(element?.content ?? []).toString("latin1");
  const short = element?.tag === tags.utcTime;
  if (!short && element?.tag !== tags.generalizedTime) throw new NotDer();
  const match = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null || (match[1]!.length === 2) !== short) throw new NotDer();
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  // RFC 5280 4.1.2.5.1: two digits from 50 on are the last century.
  const full = short ? (year < 50 ? 2000 : 1900) + year : year;
  const time = fromParts({ year: full, month, day, hour, minute, second, fraction: 0 });
  if (time === undefined) throw new NotDer();
  return time;
}

function readName(element: Element | undefined): DistinguishedName {
  return elements(content(element, tags.sequence)).map((rdn) =>
    elements(content(rdn, tags.set)).map((pair) => {
      const [oid, value] = elements(content(pair, tags.sequence));
      return { oid: readOid(oid), value: readString(value) };
    }),
  );
}

function readString(element: Element | undefined): string {
  if (element === undefined) throw new NotDer();
  const bytes = Buffer.from(element.content);
  switch (element.tag) {
    case 0x0c: // UTF8String
      return bytes.toString("utf8");
    case 0x1e: // BMPString: UTF-16 with the high byte first
      if (bytes.length % 2 !== 0) throw new NotDer();
      return bytes.swap16().toString("utf16le");
    default: // PrintableString, IA5String, TeletexString
      return bytes.toString("latin1");
  }
}

/** Of the subject, or of the issuer. */
export function alternativeNames(certificate: Certificate, ofIssuer: boolean): AlternativeNames {
  const names = { email: [] as string[], dns: [] as string[], url: [] as string[], upn: [] as string[] };
  const wanted = ofIssuer ? issuerAltName : subjectAltName;
  const extension = certificate.extensions.find(({ oid }) => oid === wanted);
  if (extension === undefined) return names;
  try {
    for (const name of elements(content(elements(extension.value)[0], tags.sequence))) {
      const text = () => Buffer.from(name.content).toString("latin1");
      if (name.tag === 0x81) names.email.push(text());
      else if (name.tag === 0x82) names.dns.push(text());
      else if (name.tag === 0x86) names.url.push(text());
      else if (name.tag === 0xa0) {
        const [oid, value] = elements(name.content);
        if (readOid(oid) === userPrincipalName)
          names.upn.push(readString(elements(value?.content ?? new Uint8Array())[0]));
      }
    }
  } catch (error) {
    // A certificate with one extension that cannot be read is still a certificate; .NET shows no such names either.
    if (!(error instanceof NotDer)) throw error;
  }
  return names;
}

/** The names Windows gives the attribute types (CertNameToStr). */
const attributeNames: Readonly<Record<string, string>> = {
  "2.5.4.3": "CN",
  "2.5.4.4": "SN",
  "2.5.4.5": "SERIALNUMBER",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "S",
  "2.5.4.9": "STREET",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "2.5.4.12": "T",
  "2.5.4.42": "G",
  "2.5.4.43": "I",
  "1.2.840.113549.1.9.1": "E",
  "0.9.2342.19200300.100.1.25": "DC",
};

/** As .NET's X500DistinguishedName.Name: the last component first, values with special characters in quotes. */
export function nameText(name: DistinguishedName): string {
  return [...name]
    .reverse()
    .map((rdn) =>
      rdn
        .map(({ oid, value }) => {
          const quoted =
            /[,+="\n<>#;]|^\s|\s$/.test(value) || value === "" ? `"${value.replaceAll('"', '""')}"` : value;
          return `${attributeNames[oid] ?? `OID.${oid}`}=${quoted}`;
        })
        .join(" + "),
    )
    .join(", ");
}

export function nameValue(name: DistinguishedName, oid: string): string | undefined {
  return name.findLast((rdn) => rdn.some((pair) => pair.oid === oid))?.find((pair) => pair.oid === oid)
    ?.value;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex").toUpperCase();
}
