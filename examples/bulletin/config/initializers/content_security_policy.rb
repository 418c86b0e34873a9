Rails.application.config.content_security_policy do |policy|
  policy.default_src :self
  policy.img_src     :self, :data
  policy.object_src  :none
  policy.base_uri    :self
  policy.connect_src :self, "ws:", "wss:"
  policy.frame_ancestors :none
end
