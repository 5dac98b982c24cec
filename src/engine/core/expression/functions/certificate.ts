/**
 * Certificate functions. The argument is the DER, or its Base64 as text; anything else is an error, which IsCert asks
 * about first. The documentation has no examples, so what .NET's X509Certificate2 gives decides.
 */
import { fail } from "../evaluate.ts";
import type { Datum } from "../types.ts";
import { alternativeNames, type Certificate, nameText, nameValue, oids, parseCertificate } from "../x509.ts";
import { fromBase64 } from "./conversion.ts";
import {
  define,
  type ExampleResult,
  entraReference,
  type FunctionDefinition,
  type FunctionTable,
} from "./define.ts";
import { exampleCertificate } from "./exampleCertificate.ts";

/** The certificate as binary, as Base64, and two of them. */
const given = {
  attributes: {
    cert: { $bin: exampleCertificate },
    text: exampleCertificate,
    userCertificate: [{ $bin: exampleCertificate }, { $bin: exampleCertificate }],
  },
};

export const certificateFunctions = {
  CertExtensionOids: ofCertificate("CertExtensionOids", {
    gives: "mvstr",
    does: "The object identifiers of the critical extensions.",
    evaluate: (certificate) =>
      certificate.extensions.filter(({ critical }) => critical).map(({ oid }) => oid),
    example: ["2.5.29.19", "2.5.29.15"],
  }),
  CertFormat: ofCertificate("CertFormat", {
    gives: "str",
    does: "The name of the certificate format, always X509.",
    evaluate: () => "X509",
    example: "X509",
  }),
  CertFriendlyName: ofCertificate("CertFriendlyName", {
    gives: "str",
    does: 'The friendly name. It belongs to a Windows certificate store and not to the certificate, so it is always "" here.',
    evaluate: () => "",
    example: "",
  }),
  CertHashString: ofCertificate("CertHashString", {
    gives: "str",
    does: "The SHA-1 hash of the certificate in hexadecimal.",
    evaluate: (certificate) => certificate.thumbprint,
    example: "0BC9671145B026A0D2DDEC43496A1101328ADA01",
  }),
  CertIssuer: ofCertificate("CertIssuer", {
    gives: "str",
    does: "The issuer's distinguished name, as .NET writes it.",
    evaluate: (certificate) => nameText(certificate.issuer),
    example: 'CN=Jane Doe, O="Contoso, Ltd.", C=US',
  }),
  CertIssuerDN: ofCertificate("CertIssuerDN", {
    gives: "str",
    does: "The issuer's distinguished name, as .NET writes it.",
    evaluate: (certificate) => nameText(certificate.issuer),
    example: 'CN=Jane Doe, O="Contoso, Ltd.", C=US',
  }),
  CertIssuerOid: ofCertificate("CertIssuerOid", {
    gives: "str",
    does: "The object identifier of the issuer's name. A name has none: .NET gives nothing here, and so does this.",
    evaluate: () => null,
    example: null,
  }),
  CertKeyAlgorithm: ofCertificate("CertKeyAlgorithm", {
    gives: "str",
    does: "The object identifier of the key's algorithm.",
    evaluate: (certificate) => certificate.keyAlgorithm,
    example: "1.2.840.10045.2.1",
  }),
  CertKeyAlgorithmParams: ofCertificate("CertKeyAlgorithmParams", {
    gives: "str",
    does: "The parameters of the key's algorithm in hexadecimal.",
    evaluate: (certificate) => certificate.keyAlgorithmParameters,
    example: "06082A8648CE3D030107",
  }),
  CertNameInfo: define({
    takes: ["certificate: bin|str", "nameType: nameType", "ofIssuer: bool"],
    gives: "str",
    does: 'A name of the subject, or of the issuer: SimpleName, EmailName, UpnName, DnsName, DnsFromAlternativeName or UrlName; "" when there is none.',
    source: entraReference("certnameinfo"),
    evaluate: (value, nameType, ofIssuer) =>
      nameInfo(certificateOf("CertNameInfo", value), nameType, ofIssuer),
    examples: [
      ['CertNameInfo([cert], "SimpleName", False)', "Jane Doe", given],
      ['CertNameInfo([text], "UpnName", False)', "jane@corp.contoso.com", given],
      ['CertNameInfo([cert], "EmailName", False)', "jane@contoso.com", given],
      ['CertNameInfo([cert], "DnsName", False)', "vpn.contoso.com", given],
      ['CertNameInfo([cert], "UrlName", False)', "https://contoso.com/jane", given],
      ['CertNameInfo([cert], "DnsFromAlternativeName", True)', "", given],
      ['CertNameInfo([cert], "Nickname", False)', { $error: null }, given],
      ['CertNameInfo(NULL, "SimpleName", False)', null],
      ['CertNameInfo([userCertificate], "SimpleName", True)', ["Jane Doe", "Jane Doe"], given],
    ],
  }),
  CertNotAfter: ofCertificate("CertNotAfter", {
    gives: "dt",
    does: "The last instant of the certificate's validity.",
    evaluate: (certificate) => certificate.notAfter,
    example: { $dt: "2036-11-18T11:17:50Z" },
  }),
  CertNotBefore: ofCertificate("CertNotBefore", {
    gives: "dt",
    does: "The first instant of the certificate's validity.",
    evaluate: (certificate) => certificate.notBefore,
    example: { $dt: "2026-11-21T11:17:50Z" },
  }),
  CertPublicKeyOid: ofCertificate("CertPublicKeyOid", {
    gives: "str",
    does: "The object identifier of the public key.",
    evaluate: (certificate) => certificate.keyAlgorithm,
    example: "1.2.840.10045.2.1",
  }),
  CertPublicKeyParametersOid: ofCertificate("CertPublicKeyParametersOid", {
    gives: "str",
    does: "The object identifier .NET gives the public key's parameters: that of the key's algorithm.",
    evaluate: (certificate) => certificate.keyAlgorithm,
    example: "1.2.840.10045.2.1",
  }),
  CertSerialNumber: ofCertificate("CertSerialNumber", {
    gives: "str",
    does: "The serial number in hexadecimal.",
    evaluate: (certificate) => certificate.serialNumber,
    example: "1A2B3C4D5E6F",
  }),
  CertSignatureAlgorithmOid: ofCertificate("CertSignatureAlgorithmOid", {
    gives: "str",
    does: "The object identifier of the signature's algorithm.",
    evaluate: (certificate) => certificate.signatureAlgorithm,
    example: "1.2.840.10045.4.3.2",
  }),
  CertSubject: ofCertificate("CertSubject", {
    gives: "str",
    does: "The subject's distinguished name, as .NET writes it.",
    evaluate: (certificate) => nameText(certificate.subject),
    example: 'CN=Jane Doe, O="Contoso, Ltd.", C=US',
  }),
  CertSubjectNameDN: ofCertificate("CertSubjectNameDN", {
    gives: "str",
    does: "The subject's distinguished name, as .NET writes it.",
    evaluate: (certificate) => nameText(certificate.subject),
    example: 'CN=Jane Doe, O="Contoso, Ltd.", C=US',
  }),
  CertSubjectNameOid: ofCertificate("CertSubjectNameOid", {
    gives: "str",
    does: "The object identifier of the subject's name. A name has none: .NET gives nothing here, and so does this.",
    evaluate: () => null,
    example: null,
  }),
  CertThumbprint: ofCertificate("CertThumbprint", {
    gives: "str",
    does: "The SHA-1 hash of the certificate in hexadecimal.",
    evaluate: (certificate) => certificate.thumbprint,
    example: "0BC9671145B026A0D2DDEC43496A1101328ADA01",
  }),
  CertVersion: ofCertificate("CertVersion", {
    gives: "str",
    does: "The version of the certificate format, usually 3.",
    evaluate: (certificate) => String(certificate.version),
    example: "3",
  }),
  IsCert: define({
    takes: ["value: bin|str|null"],
    gives: "bool",
    does: "Whether the value is a certificate.",
    source: entraReference("iscert"),
    evaluate: (value) => value !== null && readCertificate(value) !== undefined,
    examples: [
      ["IsCert([cert])", true, given],
      ['IsCert("no certificate")', false],
      ["IsCert(NULL)", false],
      ["IsCert([userCertificate])", [true, true], given],
      ["Count(Where($item, [userCertificate], CertNotAfter($item) > Now()))", 2, given],
    ],
  }),
} satisfies FunctionTable;

interface CertificateEntry {
  readonly gives: "str" | "mvstr" | "dt";
  readonly does: string;
  readonly evaluate: (certificate: Certificate) => Datum;
  /** Of the example certificate. */
  readonly example: ExampleResult;
}

/** A function of one certificate; what NULL, lists and other values give is the same for all. */
function ofCertificate(
  name: string,
  { gives, does, evaluate, example }: CertificateEntry,
): FunctionDefinition {
  const two = Array.isArray(example)
    ? [...example, ...example]
    : example === null
      ? null
      : [example, example];
  return define({
    takes: ["certificate: bin|str"],
    gives,
    does,
    source: entraReference(name.toLowerCase()),
    evaluate: (value) => evaluate(certificateOf(name, value)),
    examples: [
      [`${name}([cert])`, example, given],
      [`${name}([text])`, example, given],
      [`${name}([userCertificate])`, two as ExampleResult, given],
      [`${name}(NULL)`, null],
      [`${name}("no certificate")`, { $error: `${name}: the value is no certificate.` }],
    ],
  });
}

function readCertificate(value: string | Uint8Array): Certificate | undefined {
  const der = typeof value === "string" ? fromBase64(value) : value;
  return der === undefined ? undefined : parseCertificate(der);
}

function certificateOf(name: string, value: string | Uint8Array): Certificate {
  return readCertificate(value) ?? fail("conversion-failed", `${name}: the value is no certificate.`);
}

/** As X509Certificate2.GetNameInfo. */
function nameInfo(certificate: Certificate, nameType: string, ofIssuer: boolean): string {
  const name = ofIssuer ? certificate.issuer : certificate.subject;
  const alternative = alternativeNames(certificate, ofIssuer);
  const first = (...candidates: (string | undefined)[]) =>
    candidates.find((candidate) => candidate !== undefined && candidate !== "") ?? "";
  switch (nameType) {
    case "SimpleName":
      return first(
        ...[oids.commonName, oids.unit, oids.organization, oids.email].map((oid) => nameValue(name, oid)),
        alternative.email[0],
      );
    case "EmailName":
      return first(alternative.email[0], nameValue(name, oids.email));
    case "UpnName":
      return first(alternative.upn[0]);
    case "DnsName":
      return first(alternative.dns[0], nameValue(name, oids.commonName));
    case "DnsFromAlternativeName":
      return first(alternative.dns[0]);
    default:
      return first(alternative.url[0]);
  }
}
