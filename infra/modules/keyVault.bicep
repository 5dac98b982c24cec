metadata description = 'Holds the secrets: the password of the service account on premises, and the address of a webhook where there is one.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the vault.')
@maxLength(24)
param name string

@description('Required. Password of the service account.')
@secure()
param adBindPassword string

@description('Required. Webhook that the app posts its events to; empty for none.')
@secure()
param eventWebhookUrl string

@description('Required. Resource id of the Log Analytics workspace.')
param logAnalyticsId string

@description('Required. Reached by a private endpoint only.')
param privateNetworking bool

@description('Required. Subnet of the private endpoint; empty without.')
param endpointSubnetId string

@description('Required. Private DNS zones by sub-resource.')
param dnsZoneIds object

@description('Required. First part of the names of private endpoints.')
param privateEndpointPrefix string

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: privateNetworking ? 'Deny' : 'Allow'
    }
  }
}

resource password 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  parent: vault
  name: 'ad-bind-password'
  tags: tags
  properties: {
    value: adBindPassword
    contentType: 'password of the service account in Active Directory'
    attributes: { enabled: true }
  }
}

resource webhook 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(eventWebhookUrl)) {
  parent: vault
  name: 'event-webhook-url'
  tags: tags
  properties: {
    value: eventWebhookUrl
    contentType: 'address that events are posted to; whoever has it can post'
    attributes: { enabled: true }
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: vault
  properties: {
    workspaceId: logAnalyticsId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

module endpoint 'privateEndpoint.bicep' = if (privateNetworking) {
  name: 'keyVault-vault'
  params: {
    location: location
    tags: tags
    name: '${privateEndpointPrefix}${name}'
    subnetId: endpointSubnetId
    serviceId: vault.id
    groupId: 'vault'
    dnsZoneId: dnsZoneIds[?'vault'] ?? ''
  }
}

@description('Name of the vault.')
output name string = vault.name

// Without a version: the app takes a new one within a day, or at once after a change of settings.
@description('Address of the secret, newest version.')
output adBindPasswordUri string = '${vault.properties.vaultUri}secrets/${password.name}/'

@description('Address of the secret that holds the webhook; it is there only where a webhook was given.')
output eventWebhookUri string = '${vault.properties.vaultUri}secrets/event-webhook-url/'
