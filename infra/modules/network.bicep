metadata description = 'A virtual network for the app, and the private DNS zones of the services it uses.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the virtual network.')
param name string

@description('Required. Name of the network security group of both subnets.')
param networkSecurityGroupName string

@description('Required. Address space.')
param addressPrefix string

@description('Required. Subnet of the function app.')
param appSubnetPrefix string

@description('Required. Subnet of the private endpoints.')
param endpointSubnetPrefix string

@description('Required. DNS servers; empty for those of Azure.')
param dnsServers string[]

@description('Required. Flex Consumption delegates its subnet otherwise than a dedicated plan does.')
param isFlexConsumption bool

@description('Required. Whether the private DNS zones are needed.')
param withPrivateEndpoints bool

var zones = [
  { key: 'blob', name: 'privatelink.blob.${environment().suffixes.storage}' }
  { key: 'queue', name: 'privatelink.queue.${environment().suffixes.storage}' }
  { key: 'table', name: 'privatelink.table.${environment().suffixes.storage}' }
  { key: 'namespace', name: 'privatelink.servicebus.windows.net' }
  { key: 'vault', name: 'privatelink.vaultcore.azure.net' }
]

// Nothing calls into these subnets from outside the network; what leaves is decided by routes and firewalls of yours.
resource securityGroup 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: networkSecurityGroupName
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'deny-internet-inbound'
        properties: {
          access: 'Deny'
          direction: 'Inbound'
          priority: 4096
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressPrefix] }
    dhcpOptions: empty(dnsServers) ? null : { dnsServers: dnsServers }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: appSubnetPrefix
          networkSecurityGroup: { id: securityGroup.id }
          delegations: [
            {
              name: 'functions'
              properties: {
                serviceName: isFlexConsumption ? 'Microsoft.App/environments' : 'Microsoft.Web/serverFarms'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointSubnetPrefix
          networkSecurityGroup: { id: securityGroup.id }
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

resource dnsZones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zones: if (withPrivateEndpoints) {
    name: zone.name
    location: 'global'
    tags: tags
  }
]

resource dnsLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, index) in zones: if (withPrivateEndpoints) {
    parent: dnsZones[index]
    name: 'vestibule'
    location: 'global'
    tags: tags
    properties: { registrationEnabled: false, virtualNetwork: { id: network.id } }
  }
]

@description('Resource id of the subnet of the app.')
output appSubnetId string = '${network.id}/subnets/app'

@description('Resource id of the subnet of the private endpoints.')
output endpointSubnetId string = '${network.id}/subnets/endpoints'

@description('Resource ids of the private DNS zones by sub-resource: blob, queue, table, namespace, vault.')
output dnsZoneIds object = withPrivateEndpoints
  ? toObject(zones, zone => zone.key, zone => resourceId('Microsoft.Network/privateDnsZones', zone.name))
  : {}
