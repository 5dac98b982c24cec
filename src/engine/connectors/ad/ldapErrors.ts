import { ConnectorError } from "../../ports/connector.ts";
import type { LdapResult } from "./ldapMessages.ts";

/**
 * Result codes that a server may send (RFC 4511 appendix A). Left out: those of operations that are never sent (compare
 * 5 and 6, SASL 7 and 14).
 */
export const resultCode = {
  success: 0,
  operationsError: 1,
  protocolError: 2,
  timeLimitExceeded: 3,
  sizeLimitExceeded: 4,
  strongerAuthRequired: 8,
  referral: 10,
  adminLimitExceeded: 11,
  unavailableCriticalExtension: 12,
  confidentialityRequired: 13,
  noSuchAttribute: 16,
  undefinedAttributeType: 17,
  inappropriateMatching: 18,
  constraintViolation: 19,
  attributeOrValueExists: 20,
  invalidAttributeSyntax: 21,
  noSuchObject: 32,
  aliasProblem: 33,
  invalidDnSyntax: 34,
  aliasDereferencingProblem: 36,
  inappropriateAuthentication: 48,
  invalidCredentials: 49,
  insufficientAccessRights: 50,
  busy: 51,
  unavailable: 52,
  unwillingToPerform: 53,
  loopDetect: 54,
  namingViolation: 64,
  objectClassViolation: 65,
  notAllowedOnNonLeaf: 66,
  notAllowedOnRdn: 67,
  entryAlreadyExists: 68,
  objectClassModsProhibited: 69,
  affectsMultipleDsas: 71,
  other: 80,
} as const;

/** The directory refused one operation. */
export class LdapError extends Error {
  override readonly name = "LdapError";
  readonly code: number;
  readonly serverMessage: string;
  readonly matchedDn: string;
  readonly referrals: readonly string[];
  /** The Win32 error that Active Directory puts in front of its message, eight hex digits; "" without one. */
  readonly windowsError: string;

  constructor(result: LdapResult) {
    super(describeResult(result));
    this.code = result.code;
    this.serverMessage = result.message;
    this.matchedDn = result.matchedDn;
    this.referrals = result.referrals;
    this.windowsError = /^([0-9A-Fa-f]{8}):/.exec(result.message)?.[1]?.toUpperCase() ?? "";
  }
}

export function describeResult({ code, message, matchedDn, referrals }: LdapResult): string {
  const name = Object.entries(resultCode).find(([, value]) => value === code)?.[0];
  const parts = [`LDAP result ${code}${name === undefined ? "" : ` ${name}`}`];
  if (message !== "") parts.push(message);
  if (matchedDn !== "") parts.push(`nearest existing entry: ${matchedDn}`);
  if (referrals.length > 0) parts.push(`referred to ${referrals.join(" ")}`);
  return parts.join("; ");
}

/**
 * The error for a result that is about the directory and not about one object; undefined for the others.
 * After `operationsError` the connection must be thrown away: it has lost its bind.
 */
export function directoryFailure(result: LdapResult): ConnectorError | undefined {
  const said = describeResult(result);
  switch (result.code) {
    case resultCode.busy:
      return new ConnectorError("throttled", `The directory is busy (${said}).`);
    case resultCode.unavailable:
    case resultCode.timeLimitExceeded:
    case resultCode.loopDetect:
      return new ConnectorError("unreachable", `The directory cannot answer now (${said}).`);
    case resultCode.operationsError:
      return new ConnectorError(
        "unreachable",
        `The directory does not know this connection any more (${said}).`,
      );
    case resultCode.strongerAuthRequired:
    case resultCode.confidentialityRequired:
      return new ConnectorError(
        "configuration",
        `The directory wants a better protected connection (${said}). AD_URL must be the ldaps address of a domain controller.`,
      );
    case resultCode.inappropriateAuthentication:
    case resultCode.invalidCredentials:
      return new ConnectorError(
        "access-denied",
        `The directory does not take the logon of this connection any more (${said}). Check AD_BIND_DN and AD_BIND_PASSWORD.`,
      );
    case resultCode.protocolError:
      return new ConnectorError(
        "configuration",
        `The directory does not understand the request (${said}). AD_URL must lead to an Active Directory domain controller, with nothing in between that changes LDAP.`,
      );
    default:
      return undefined;
  }
}

/** What a refused read means for the whole import or look-up. `doing`: "listing OU=…", for the message. */
export function readFailure(error: LdapError, doing: string): ConnectorError {
  const said = `${doing} failed: ${error.message}.`;
  switch (error.code) {
    case resultCode.insufficientAccessRights:
      return new ConnectorError(
        "permission-denied",
        `${said} Grant the account of AD_BIND_DN the right to read there.`,
        { cause: error },
      );
    case resultCode.noSuchObject:
    case resultCode.referral:
    case resultCode.invalidDnSyntax:
      return new ConnectorError(
        "configuration",
        `${said} AD_BASE_DN must be the DN of the domain that AD_URL serves, and GUEST_OU an OU in it.`,
        { cause: error },
      );
    case resultCode.unavailableCriticalExtension:
      return new ConnectorError("configuration", `${said} AD_URL does not seem to be an Active Directory.`, {
        cause: error,
      });
    case resultCode.sizeLimitExceeded:
    case resultCode.adminLimitExceeded:
      return new ConnectorError(
        "configuration",
        `${said} The answer was cut by a limit of the directory, so it is not used. Lower the connector's pageSize.`,
        { cause: error },
      );
    default:
      return new ConnectorError("unreachable", said, { cause: error });
  }
}

/** Error codes of TLS by what has to be mended. */
const untrusted: ReadonlySet<string> = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "INVALID_CA",
  "CERT_CHAIN_TOO_LONG",
]);

/** A connection that could not be made or was lost, in words for the operator. */
export function connectionFailure(error: Error, url: string): ConnectorError {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const fail = (what: string) => new ConnectorError("unreachable", what, { cause: error });
  if (untrusted.has(code)) {
    return fail(
      `The certificate of ${url} is not trusted (${error.message}). AD_CA_CERTIFICATE must hold the certificate of the authority that issued it.`,
    );
  }
  if (code === "EPROTO" || code.startsWith("ERR_SSL_")) {
    const reason = (error as { reason?: string }).reason ?? error.message;
    return fail(`${url} does not offer TLS 1.2 or newer (${reason}). AD_URL must be an LDAPS port.`);
  }
  switch (code) {
    case "CERT_HAS_EXPIRED":
      return fail(`The certificate of ${url} has expired. Renew the certificate of the domain controller.`);
    case "CERT_NOT_YET_VALID":
      return fail(`The certificate of ${url} is not valid yet. Compare the clocks of both sides.`);
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return fail(
        `The certificate of ${url} is issued to another name (${error.message}). Set AD_SERVER_NAME to the name in the certificate, or AD_URL to an address that it names.`,
      );
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return fail(
        `The host of AD_URL (${url}) has no address (${code}). Check AD_URL and the DNS or the hybrid connection.`,
      );
    case "ECONNREFUSED":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "ETIMEDOUT":
      return fail(
        `Nothing answers at AD_URL (${url}: ${code}). Check that the domain controller runs, and the way to it (hybrid connection, VPN, firewall).`,
      );
    default:
      return fail(`The connection to AD_URL (${url}) failed: ${error.message}.`);
  }
}

/** RFC 4511 section 4.4.1: the server says that it is about to close the connection. */
export function noticeOfDisconnection(result: LdapResult, url: string): ConnectorError {
  const kind = result.code === resultCode.busy ? "throttled" : "unreachable";
  return new ConnectorError(
    kind,
    `The domain controller at ${url} closed the connection (${describeResult(result)}).`,
  );
}

/**
 * Sub-codes of a refused bind ([MS-ADTS] 5.1.1.5; Win32 logon errors), what they mean and what to do. Active
 * Directory tells them apart only when the password was right.
 */
const bindRefusals: Readonly<Record<string, string>> = {
  "52e": "The user or the password is wrong. Check AD_BIND_DN and AD_BIND_PASSWORD.",
  "525": "The user does not exist. Check AD_BIND_DN.",
  "530": "The account of AD_BIND_DN may not log on at this hour. Lift its logon hours.",
  "531": "The account of AD_BIND_DN may not log on from here. Lift its restriction to workstations.",
  "532":
    "The password has expired. Set a new one for the account of AD_BIND_DN and store it in AD_BIND_PASSWORD.",
  "533": "The account of AD_BIND_DN is disabled. Enable it.",
  "701": "The account of AD_BIND_DN has expired. Extend it.",
  "773":
    "The password must be changed at the first logon. Set one for the account of AD_BIND_DN that need not be changed.",
  "775": "The account of AD_BIND_DN is locked. Unlock it and check AD_BIND_PASSWORD.",
};

export function bindFailure(result: LdapResult, url: string): ConnectorError {
  const isLogon =
    result.code === resultCode.invalidCredentials || result.code === resultCode.inappropriateAuthentication;
  const other = isLogon ? undefined : directoryFailure(result);
  if (other !== undefined) return other;
  const sub = /\bdata ([0-9a-f]+)/i.exec(result.message)?.[1]?.toLowerCase() ?? "";
  const remedy = bindRefusals[sub] ?? "Check AD_BIND_DN and AD_BIND_PASSWORD.";
  return new ConnectorError(
    "access-denied",
    `The directory at ${url} refused the logon (LDAP result ${result.code}${sub === "" ? "" : `, data ${sub}`}). ${remedy}`,
  );
}
