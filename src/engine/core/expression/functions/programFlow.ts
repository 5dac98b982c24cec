/** Choices, errors, and values from elsewhere. */
import { formatGuid } from "./conversion.ts";
import { defineForm, defineWithContext, entraReference, type FunctionTable } from "./define.ts";

const declarativeProvisioning =
  "https://learn.microsoft.com/entra/identity/hybrid/connect/concept-azure-ad-connect-sync-declarative-provisioning";

export const programFlowFunctions = {
  Error: defineForm("Error", {
    syntax: "Error(str message)",
    gives: "void",
    does: "Ends the evaluation for this object with the message.",
    source: entraReference("error"),
    examples: [
      [
        'IIF(IsPresent([accountName]), [accountName], Error("AccountName is required"))',
        { $error: "AccountName is required" },
      ],
      [
        'IIF(IsPresent([accountName]), [accountName], Error("AccountName is required"))',
        "jdoe",
        { attributes: { accountName: "jdoe" } },
      ],
      ["Error(NULL)", { $error: "" }],
      [
        'IIF(Contains([mails], "@") > 0, [mails], Error("none"))',
        ["a@b"],
        { attributes: { mails: ["a@b"] } },
      ],
    ],
  }),
  IIF: defineForm("IIF", {
    syntax: "IIF(condition, var whenTrue, var whenFalse)",
    gives: "any",
    does: "One of two values; only the chosen one is computed. NULL counts as False. A list of conditions chooses value by value, and NULLs are left out of the result.",
    source: entraReference("iif"),
    examples: [
      [
        'IIF([employeeType] = "Intern", "t-" & [alias], [alias])',
        "t-bsimon",
        { attributes: { employeeType: "Intern", alias: "bsimon" } },
      ],
      [
        'IIF([employeeType] = "Intern", "t-" & [alias], [alias])',
        "bsimon",
        { attributes: { alias: "bsimon" } },
      ],
      ['IIF(NULL, "a", "b")', "b"],
      [
        'IIF(InStr([proxyAddresses], "SIP:") = 1, NULL, [proxyAddresses])',
        ["SMTP:a@b", "smtp:c@d"],
        { attributes: { proxyAddresses: ["SMTP:a@b", "SIP:e@f", "smtp:c@d"] } },
      ],
      ["IIF(IsPresent([x]), [x], IgnoreThisFlow)", { $flow: "IgnoreThisFlow" }],
    ],
  }),
  ImportedValue: defineForm("ImportedValue", {
    syntax: 'ImportedValue("attribute")',
    gives: "any",
    does: "The value of the attribute that an import has confirmed last, whatever exports are pending.",
    source: declarativeProvisioning,
    examples: [
      [
        'RemoveDuplicates(Trim(ImportedValue("proxyAddresses")))',
        ["smtp:a@b"],
        {
          attributes: { proxyAddresses: ["smtp:pending@b"] },
          importedAttributes: { proxyAddresses: ["smtp:a@b", "smtp:a@b "] },
        },
      ],
      ['ImportedValue("mail")', "a@b", { importedAttributes: { mail: "a@b" } }],
      ['IsNull(ImportedValue("mail"))', true, { attributes: { mail: "pending@b" } }],
    ],
  }),
  Guid: defineWithContext({
    takes: [],
    gives: "str",
    does: "A new GUID, in lower case and without braces.",
    source: entraReference("guid"),
    evaluate: (context) => {
      const bytes = Uint8Array.from({ length: 16 }, () => Math.floor(context.random() * 256));
      // Version 4, variant 1 (RFC 9562), in the places where the stored order has them.
      bytes[7] = (bytes[7]! & 0x0f) | 0x40;
      bytes[8] = (bytes[8]! & 0x3f) | 0x80;
      return formatGuid(bytes);
    },
    examples: [
      ["Guid()", "80808080-8080-4080-8080-808080808080"],
      ["Len(Guid())", 36],
      ["IsGuid(Guid())", true],
    ],
  }),
  Switch: defineForm("Switch", {
    syntax: "Switch(condition1, var value1, condition2, var value2, …)",
    gives: "any",
    does: "The value after the first condition that is True, and only that one is computed; NULL when none is.",
    source: `${entraReference("switch")}; that all values are computed contradicts the page's own example with Error`,
    examples: [
      [
        'Switch([city] = "London", "English", [city] = "Rome", "Italian", True, Error("Unknown city"))',
        "Italian",
        { attributes: { city: "Rome" } },
      ],
      ['Switch([city] = "London", "English", True, Error("Unknown city"))', { $error: "Unknown city" }],
      ['Switch(NULL, "a")', null],
      ['Switch([n] = 1, "one", [n] = 2, "two")', ["one", "two"], { attributes: { n: [1, 2, 3] } }],
    ],
  }),
} satisfies FunctionTable;
