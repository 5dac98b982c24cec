/** Small exports of Entra Connect and MIM, written by hand in the shapes of RULE_EXPORTS.md. */
import type { ExportFile } from "../../../src/engine/takeover/takeover.ts";

export const adIdentifier = "11111111-2222-3333-4444-555555555555";
export const entraIdentifier = "b891884f-051e-4a83-95af-2544101c9083";

/** Text of an export as it stands in an XML element. */
export function xml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** A rule of the server configuration; `changed` replaces whole elements by their names. */
export function ruleXml(changed: Readonly<Record<string, string>> = {}): string {
  const elements: Record<string, string> = {
    id: "{AAAAAAAA-0000-0000-0000-000000000001}",
    "internal-id": "{AAAAAAAA-0000-0000-0000-000000000001}",
    version: "3",
    name: "In from AD - User Test",
    description: "Two\nlines",
    "immutable-tag": "",
    direction: "Inbound",
    disabled: "False",
    connector: `{${adIdentifier.toUpperCase()}}`,
    sourceObjectType: "user",
    targetObjectType: "person",
    linkType: "Provision",
    precedence: "42",
    "precedence-after": "{00000000-0000-0000-0000-000000000000}",
    "precedence-before": "{00000000-0000-0000-0000-000000000000}",
    softDeleteExpiryInterval: "00:00:00",
    EnablePasswordSync: "false",
    ...changed,
  };
  const parts: Record<string, string> = {
    "attribute-mappings":
      mapping("displayName", { attributes: ["displayName"] }) +
      mapping("mailEnabled", { constant: "True" }) +
      mapping("cn", {
        attributes: ["mail"],
        expression: 'IIF(IsPresent([mail]) && [level] > 3, "a", NULL)',
        once: true,
        merge: "MergeCaseInsensitive",
      }),
    relationshipCriteria:
      "<conditions><condition><csAttribute>objectSid</csAttribute><ilmAttribute>objectSid</ilmAttribute></condition>" +
      "<condition><csAttribute>mail</csAttribute><ilmAttribute>mail</ilmAttribute><caseSensitive>True</caseSensitive></condition></conditions>" +
      "<conditions><condition><csAttribute>mail</csAttribute><ilmAttribute>mail</ilmAttribute></condition></conditions>",
    synchronizationCriteria:
      "<conditions><scope><csAttribute>adminDescription</csAttribute><csOperator>NOTSTARTSWITH</csOperator><csValue>User_</csValue></scope>" +
      "<scope><csAttribute>mail</csAttribute><csOperator>ISNOTNULL</csOperator><csValue /></scope></conditions>",
  };
  const plain = Object.entries(elements)
    .filter(([name]) => !(name in parts))
    .map(([name, text]) => `  <${name}>${xml(text)}</${name}>`);
  const nested = Object.entries(parts).map(([name, text]) => `  <${name}>${changed[name] ?? text}</${name}>`);
  return `<synchronizationRule>\n${[...plain, ...nested].join("\n")}\n</synchronizationRule>`;
}

export function mapping(
  target: string,
  flow: {
    readonly attributes?: readonly string[];
    readonly constant?: string;
    readonly expression?: string | undefined;
    readonly once?: boolean;
    readonly merge?: string;
  },
): string {
  const source = flow.attributes?.map((name) => `<attr>${name}</attr>`).join("") ?? xml(flow.constant ?? "");
  return (
    `<mapping${flow.once ? ' execute-once="true"' : ""}><dest>${target}</dest><src>${source}</src>` +
    (flow.expression === undefined ? "" : `<expression>${xml(flow.expression)}</expression>`) +
    `<valueMergeType>${flow.merge ?? "Update"}</valueMergeType></mapping>`
  );
}

const syntax = { text: "15", binary: "5", boolean: "7", reference: "12", integer: "27" };
type Syntax = keyof typeof syntax;

/** DSML with one class; attributes as `name: syntax`, with `*` behind the syntax where there may be several values. */
export function dsml(type: string, attributes: Readonly<Record<string, Syntax | `${Syntax}*`>>): string {
  const names = Object.keys(attributes);
  return (
    '<schema><dsml:dsml xmlns:dsml="http://www.dsml.org/DSML" xmlns:ms-dsml="http://www.microsoft.com/MMS/DSML"><dsml:directory-schema>' +
    `<dsml:class id="${type}"><dsml:name>${type}</dsml:name>${names.map((name) => `<dsml:attribute ref="#${name}" required="false"/>`).join("")}</dsml:class>` +
    Object.entries(attributes)
      .map(([name, kind]) => {
        const number = syntax[kind.replace("*", "") as Syntax];
        return `<dsml:attribute-type id="${name}" single-value="${!kind.endsWith("*")}"><dsml:name>${name}</dsml:name><dsml:syntax>1.3.6.1.4.1.1466.115.121.1.${number}</dsml:syntax></dsml:attribute-type>`;
      })
      .join("") +
    "</dsml:directory-schema></dsml:dsml></schema>"
  );
}

export const adSchema = dsml("user", {
  displayName: "text",
  mail: "text",
  adminDescription: "text",
  objectSid: "binary",
  level: "integer",
  photo: "binary*",
});

export function connectorXml(
  changed: {
    readonly id?: string;
    readonly name?: string;
    readonly category?: string;
    readonly schema?: string;
    readonly more?: string;
    readonly containers?: string;
  } = {},
): string {
  const attributes = ["displayName", "mail", "adminDescription", "objectSid", "level", "photo"];
  return `<ma-data>
  <id>{${(changed.id ?? adIdentifier).toUpperCase()}}</id><name>${changed.name ?? "contoso.com"}</name>
  <category>${changed.category ?? "AD"}</category><subtype/>
  ${changed.schema ?? adSchema}
  <private-configuration><adma-configuration><parameter-values><parameter name="Forest.FQDN" intrinsic="1">contoso.com</parameter>
  <parameter name="password" encrypted="1">never</parameter></parameter-values></adma-configuration></private-configuration>
  <attribute-inclusion>${attributes.map((name) => `<attribute>${name}</attribute>`).join("")}</attribute-inclusion>
  <ma-partition-data><partition><name>DC=contoso,DC=com</name><selected>1</selected><filter>
    <object-classes><object-class>user</object-class><object-class>computer</object-class></object-classes>
    <containers>${changed.containers ?? "<exclusions><exclusion>DC=contoso,DC=com</exclusion></exclusions><inclusions><inclusion>OU=Staff,DC=contoso,DC=com</inclusion></inclusions>"}</containers></filter>
    <custom-data><adma-partition-data><is-domain>1</is-domain></adma-partition-data></custom-data>
    <parameter-values><parameter name="Domain.FQDN" intrinsic="1">contoso.com</parameter></parameter-values>
  </partition></ma-partition-data>
  ${changed.more ?? ""}
</ma-data>`;
}

export function metaverseXml(more = "", type = "person"): string {
  const schema = dsml(type, {
    displayName: "text",
    mail: "text",
    cn: "text",
    mailEnabled: "boolean",
    objectSid: "binary",
    photo: "binary",
    fqdn: "text",
  });
  return `<saved-mv-configuration><mv-data>${schema}${more}</mv-data></saved-mv-configuration>`;
}

export const file = (name: string, text: string): ExportFile => ({ file: name, text });

export function serverConfiguration(...rules: readonly string[]): readonly ExportFile[] {
  return [
    ...rules.map((text, index) => file(`SynchronizationRules/rule${index}.xml`, text)),
    file("Connectors/Connector_ad.xml", connectorXml()),
    file("GlobalSettings/MV.xml", metaverseXml()),
  ];
}
