// Vestibule in Azure: one resource group with everything the function app needs, and nothing else.
//
// Conventions are those of Azure Verified Modules: a description on every parameter, tags and diagnostic settings
// everywhere, managed identity instead of keys, pinned API versions. Names of queues and app roles come from names.json,
// which the tests compare with the code.
targetScope = 'subscription'

metadata name = 'Vestibule'
metadata description = 'Serverless identity synchronisation: Entra ID guests become Active Directory accounts.'

@description('Required. Name of the azd environment; part of every name.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Required. Azure region of all resources.')
@minLength(1)
param location string

@description('Optional. How the app reaches the domain controller. hybridConnection: a relay carries TCP through an agent on premises, and the app runs on a dedicated Windows plan. vnet: the app runs on Flex Consumption inside a virtual network that you connect by VPN or ExpressRoute.')
@allowed(['hybridConnection', 'vnet'])
param onPremConnectivity string = 'hybridConnection'

@description('Optional. Size of the dedicated Windows plan. Used with hybridConnection only.')
@allowed(['B1', 'S1', 'P0v3', 'P1v3', 'P2v3'])
param dedicatedPlanSku string = 'P0v3'

@description('Optional. Storage, Service Bus and Key Vault are reached by private endpoints only. Service Bus Premium is used, as Standard has none.')
param privateNetworking bool = false

@description('Optional. Address space of the virtual network.')
param virtualNetworkAddressPrefix string = '10.90.0.0/24'

@description('Optional. Subnet of the function app, within the address space, /26 or larger.')
param appSubnetPrefix string = '10.90.0.0/26'

@description('Optional. Subnet of the private endpoints, within the address space.')
param endpointSubnetPrefix string = '10.90.0.64/26'

@description('Optional. DNS servers of the virtual network: your domain controllers, so that their names resolve. Empty for those of Azure.')
param dnsServers string[] = []

@description('Required. DNS name of the domain controller, as in its certificate: dc1.contoso.local.')
@minLength(1)
param domainControllerHostName string

@description('Optional. LDAPS port of the domain controller.')
param domainControllerPort int = 636

@description('Required. DN or UPN of the service account on premises.')
@minLength(1)
param adBindDn string

@description('Required. Password of the service account. It goes to Key Vault and nowhere else.')
@secure()
@minLength(1)
param adBindPassword string

@description('Optional. Day on which that password ends, as 2027-03-31: told of 30 days before. Empty where it does not end.')
param adBindPasswordExpires string = ''

@description('Required. DN of the domain: DC=contoso,DC=local.')
@minLength(1)
param adBaseDn string

@description('Required. DN of the organisational unit for guests.')
@minLength(1)
param guestOu string

@description('Optional. Object id of a group whose members alone are let in; without it every guest is.')
param guestGroup string = ''

@description('Optional. DN of a group whose members may not log on interactively; accounts become its members.')
param denyLogonGroup string = ''

@description('Optional. ldaps://host:3269 of a global catalog; names are looked for in the whole forest then.')
param adGlobalCatalogUrl string = ''

@description('Required. Certificate (PEM) of the authority that issued the domain controller certificate, as text or in base64: azd puts it into JSON as it is, where lines cannot end.')
@minLength(1)
param adCaCertificate string

@description('Optional. Name to verify in the domain controller certificate, when it differs from the host name.')
param adServerName string = ''

@description('Optional. Schedule of the cycle, NCRONTAB with six fields, UTC.')
param cycleSchedule string = '0 */30 * * * *'

@description('Optional. Imports and synchronises, and never exports. On by default: look at the first export plan, then set it to false.')
param stagingMode bool = true

@description('Optional. Graph endpoint of the cloud. Empty for the public cloud.')
param graphBaseUrl string = ''

@description('Optional. Application (client) id of the app registration that protects the API. Empty: the API asks for a function key.')
param apiClientId string = ''

@description('Optional. Mail address for alerts. Empty for none.')
param alertEmail string = ''

@description('Optional. Webhook for alerts: a receiver of the common alert schema of Azure Monitor. Empty for none. A Teams workflow does not read that schema: give it to eventWebhookUrl.')
@secure()
param alertWebhookUrl string = ''

@description('Optional. Webhook that the app itself posts its events to, as JSON or as a card for a Teams workflow. Empty for none.')
@secure()
param eventWebhookUrl string = ''

@description('Optional. What eventWebhookUrl is sent: json, or teams for a card.')
@allowed(['json', 'teams'])
param eventWebhookFormat string = 'json'

@description('Optional. Minutes without a successful cycle before an alert: a few intervals of the schedule.')
@allowed([60, 120, 180, 240, 300, 360, 1440])
param cycleOverdueMinutes int = 120

@description('Optional. Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('Optional. Further tags of all resources.')
param tags object = {}

var names = loadJsonContent('names.json')
var abbreviations = loadJsonContent('abbreviations.json')
var token = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, { 'azd-env-name': environmentName })
var isHybrid = onPremConnectivity == 'hybridConnection'
var needsNetwork = !isHybrid || privateNetworking

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: '${abbreviations.resourceGroup}${environmentName}'
  location: location
  tags: allTags
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    location: location
    tags: allTags
    logAnalyticsName: '${abbreviations.logAnalytics}${token}'
    applicationInsightsName: '${abbreviations.applicationInsights}${token}'
    retentionDays: logRetentionDays
  }
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    location: location
    tags: allTags
    name: '${abbreviations.managedIdentity}${token}'
  }
}

module network 'modules/network.bicep' = if (needsNetwork) {
  name: 'network'
  scope: group
  params: {
    location: location
    tags: allTags
    name: '${abbreviations.virtualNetwork}${token}'
    networkSecurityGroupName: '${abbreviations.networkSecurityGroup}${token}'
    addressPrefix: virtualNetworkAddressPrefix
    appSubnetPrefix: appSubnetPrefix
    endpointSubnetPrefix: endpointSubnetPrefix
    dnsServers: dnsServers
    isFlexConsumption: !isHybrid
    withPrivateEndpoints: privateNetworking
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    location: location
    tags: allTags
    name: '${abbreviations.storage}${token}'
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    privateNetworking: privateNetworking
    endpointSubnetId: needsNetwork ? network!.outputs.endpointSubnetId : ''
    dnsZoneIds: needsNetwork ? network!.outputs.dnsZoneIds : {}
    privateEndpointPrefix: abbreviations.privateEndpoint
  }
}

module serviceBus 'modules/serviceBus.bicep' = {
  name: 'serviceBus'
  scope: group
  params: {
    location: location
    tags: allTags
    name: '${abbreviations.serviceBus}${token}'
    queues: names.queues
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    privateNetworking: privateNetworking
    endpointSubnetId: needsNetwork ? network!.outputs.endpointSubnetId : ''
    dnsZoneIds: needsNetwork ? network!.outputs.dnsZoneIds : {}
    privateEndpointPrefix: abbreviations.privateEndpoint
  }
}

module keyVault 'modules/keyVault.bicep' = {
  name: 'keyVault'
  scope: group
  params: {
    location: location
    tags: allTags
    name: take('${abbreviations.keyVault}${token}', 24)
    adBindPassword: adBindPassword
    eventWebhookUrl: eventWebhookUrl
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    privateNetworking: privateNetworking
    endpointSubnetId: needsNetwork ? network!.outputs.endpointSubnetId : ''
    dnsZoneIds: needsNetwork ? network!.outputs.dnsZoneIds : {}
    privateEndpointPrefix: abbreviations.privateEndpoint
  }
}

module relay 'modules/relay.bicep' = if (isHybrid) {
  name: 'relay'
  scope: group
  params: {
    location: location
    tags: allTags
    name: '${abbreviations.relay}${token}'
    hybridConnectionName: '${abbreviations.hybridConnection}domain-controller'
    hostName: domainControllerHostName
    port: domainControllerPort
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

// The app is created after its roles: it would start with references and connections that it may not read yet.
module roles 'modules/roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    storageName: storage.outputs.name
    serviceBusName: serviceBus.outputs.name
    keyVaultName: keyVault.outputs.name
    applicationInsightsName: monitoring.outputs.applicationInsightsName
  }
}

module app 'modules/functionApp.bicep' = {
  name: 'functionApp'
  scope: group
  dependsOn: [roles]
  params: {
    location: location
    tags: union(allTags, { 'azd-service-name': 'vestibule' })
    name: '${abbreviations.functionApp}${token}'
    planName: '${abbreviations.plan}${token}'
    isHybrid: isHybrid
    dedicatedPlanSku: dedicatedPlanSku
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    deploymentContainerUrl: storage.outputs.deploymentContainerUrl
    appSubnetId: needsNetwork ? network!.outputs.appSubnetId : ''
    relayName: isHybrid ? relay!.outputs.name : ''
    hybridConnectionName: isHybrid ? relay!.outputs.hybridConnectionName : ''
    domainControllerHostName: domainControllerHostName
    domainControllerPort: domainControllerPort
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    apiClientId: apiClientId
    settings: {
      Storage__tableServiceUri: storage.outputs.tableServiceUri
      ServiceBus__fullyQualifiedNamespace: serviceBus.outputs.fullyQualifiedNamespace
      ServiceBus__credential: 'managedidentity'
      ServiceBus__clientId: identity.outputs.clientId
      // Of the Node.js process: https://learn.microsoft.com/azure/azure-functions/functions-reference-node#languageworkers__node__arguments
      languageWorkers__node__arguments: names.workerArguments
      AZURE_CLIENT_ID: identity.outputs.clientId
      GRAPH_BASE_URL: empty(graphBaseUrl) ? 'https://graph.microsoft.com' : graphBaseUrl
      AD_URL: 'ldaps://${domainControllerHostName}:${domainControllerPort}'
      AD_BIND_DN: adBindDn
      AD_BIND_PASSWORD: '@Microsoft.KeyVault(SecretUri=${keyVault.outputs.adBindPasswordUri})'
      AD_BIND_PASSWORD_EXPIRES: adBindPasswordExpires
      AD_CA_CERTIFICATE: contains(adCaCertificate, '-----BEGIN') ? adCaCertificate : base64ToString(adCaCertificate)
      AD_SERVER_NAME: empty(adServerName) ? domainControllerHostName : adServerName
      AD_BASE_DN: adBaseDn
      GUEST_OU: guestOu
      GUEST_GROUP: guestGroup
      DENY_LOGON_GROUP: denyLogonGroup
      AD_GLOBAL_CATALOG_URL: adGlobalCatalogUrl
      CYCLE_SCHEDULE: cycleSchedule
      STAGING_MODE: stagingMode ? 'true' : 'false'
      CONFIG_DIR: 'config'
      API_AUTHENTICATION: empty(apiClientId) ? 'keys' : 'entra'
      WEBHOOK_URL: empty(eventWebhookUrl) ? '' : '@Microsoft.KeyVault(SecretUri=${keyVault.outputs.eventWebhookUri})'
      WEBHOOK_FORMAT: eventWebhookFormat
      CYCLE_OVERDUE_MINUTES: string(cycleOverdueMinutes)
      APPLICATIONINSIGHTS_CONNECTION_STRING: monitoring.outputs.connectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.outputs.clientId};Authorization=AAD'
    }
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: allTags
    actionGroupName: '${abbreviations.actionGroup}${token}'
    email: alertEmail
    webhookUrl: alertWebhookUrl
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    serviceBusId: serviceBus.outputs.id
    functionAppName: app.outputs.name
    cycleOverdueMinutes: cycleOverdueMinutes
  }
}

@description('Region of the deployment.')
output AZURE_LOCATION string = location

@description('Name of the resource group.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the function app.')
output AZURE_FUNCTION_NAME string = app.outputs.name

@description('Address of the HTTP API.')
output VESTIBULE_API string = 'https://${app.outputs.hostName}/api'

@description('Object id of the managed identity: scripts give it its Graph permissions.')
output VESTIBULE_PRINCIPAL_ID string = identity.outputs.principalId
