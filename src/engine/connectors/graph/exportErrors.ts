/** What a refused write means, in the engine's codes and with a remedy in words. */
import type { ExportResult } from "../../ports/connector.ts";
import { errorOf, type GraphAnswer } from "./failures.ts";

type Failed = Extract<ExportResult, { kind: "failed" }>;

interface Refusal {
  /** Of the status, and of the service's code and words together. */
  readonly status: number;
  readonly says: RegExp;
  /** One of SEMANTICS 2.11 (export). */
  readonly code: string;
  readonly remedy: string;
}

/**
 * The first line that fits counts. The service has one code, Request_BadRequest, for most of what can be wrong with a
 * value, and tells the cases apart in words: https://learn.microsoft.com/graph/errors
 */
const refusals: readonly Refusal[] = [
  {
    status: 400,
    says: /already exists|ObjectConflict|MultipleObjectsWithSameKeyValue/i,
    code: "cd-existing-object",
    remedy: "Another object has the value. Free it there, or join the object.",
  },
  {
    status: 409,
    says: /./,
    code: "cd-existing-object",
    remedy:
      "Another object has the value, or the object was just changed. Free the value, or wait for the next cycle.",
  },
  {
    status: 400,
    says: /on-?premises mastered|DirSync|sourced from on-premises/i,
    code: "permission-issue",
    remedy:
      "Entra Connect or cloud sync masters this object. Change it in its own directory, or leave it out of the rule.",
  },
  {
    status: 400,
    says: /password complexity|password.*(weak|banned)/i,
    code: "password-policy-violation",
    remedy: "The tenant's password protection refused the random password. The next attempt makes another.",
  },
  {
    status: 400,
    says: /domain portion of the userPrincipalName/i,
    code: "invalid-attribute-value",
    remedy: "Form the user principal name with a verified domain of the tenant.",
  },
  {
    status: 400,
    says: /read-?only|cannot be (set|updated)/i,
    code: "schema-violation",
    remedy: "The service sets this property itself. Remove the flow.",
  },
  {
    status: 400,
    says: /does not exist on type/i,
    code: "schema-violation",
    remedy: "Correct the attribute in the rule.",
  },
  {
    status: 400,
    says: /Invalid value specified|value is required|property .* invalid/i,
    code: "invalid-attribute-value",
    remedy:
      "The value is too long, empty where one is required, or not of the form that the property wants. Correct the flow.",
  },
  {
    status: 400,
    says: /invited user|redirect URL/i,
    code: "invalid-attribute-value",
    remedy:
      "Check the mail address that flows, the setting invitationRedirectUrl, and whom the tenant allows to be invited.",
  },
  {
    status: 403,
    says: /QuotaExceeded/i,
    code: "cd-error",
    remedy:
      "The tenant's or the application's quota of objects is used up. Raise it, or remove what is not needed.",
  },
  {
    status: 403,
    says: /./,
    code: "permission-issue",
    remedy:
      "Grant the managed identity User.ReadWrite.All (for invitations alone User.Invite.All; for groups Group.ReadWrite.All), or leave this object out: an administrator's account, or a group that roles are assigned to, needs a higher role than an application has.",
  },
  {
    status: 404,
    says: /./,
    code: "cd-missing-object",
    remedy: "It is no longer in the tenant. The next import and synchronisation decide anew.",
  },
];

/** The result of a refused write. The message holds the service's words, and no value of ours. */
export function refusal(answer: GraphAnswer, dn: string): Failed {
  const { code: serviceCode, text } = errorOf(answer);
  const found = refusals.find(
    ({ status, says }) => status === answer.status && says.test(`${serviceCode} ${text} .`),
  );
  const { code, remedy } = found ?? {
    code: "cd-error",
    remedy: "Graph gives no better reason; its documentation of the request may say more.",
  };
  const said = `Graph answered ${answer.status}${text === "" ? "" : ` (${text.replace(/[.\s]+$/, "")})`}`;
  const requestId = answer.headers["request-id"];
  const request = requestId === undefined ? "" : `, request ${requestId}`;
  return { kind: "failed", code, message: `${dn}: ${said}${request}. ${remedy}` };
}
