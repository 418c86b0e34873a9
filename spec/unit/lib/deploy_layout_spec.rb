# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require_relative "../../../lib/phusion_passenger/deploy_layout"

RSpec.describe PhusionPassenger::DeployLayout do
  around do |example|
    Dir.mktmpdir do |directory|
      @root = File.realpath(directory)
      example.run
    end
  end

  def made(*path) = File.join(@root, *path).tap { |directory| FileUtils.mkdir_p(directory) }

  def linked(name, target) = File.join(@root, name).tap { |link| File.symlink(target, link) }

  def reached(directory) = described_class.directories(directory).map { |path| path.delete_prefix("#{@root}/") }

  it "is the application's directory where there are no releases" do
    expect(reached(made("app"))).to eq(%w[app])
  end

  it "has shared and releases next to a release" do
    expect(reached(made("releases", "20240101120000"))).to eq(%w[releases/20240101120000 shared releases])
  end

  it "is found behind the symlink to the current release, which stays what it is called" do
    made("releases", "1")
    expect(reached(linked("current", "releases/1"))).to eq(%w[current shared releases])
  end

  it "is found behind a symlink to a symlink, and where the deployment itself is reached by one" do
    made("deploy", "releases", "1")
    linked("deploy/current", "releases/1")
    linked("app", "deploy/current")
    linked("www", "deploy")
    expect(reached("#{@root}/app")).to eq(%w[app deploy/shared deploy/releases])
    expect(reached("#{@root}/www/current")).to eq(%w[www/current deploy/shared deploy/releases])
  end

  it "is not seen in names that only look like it" do
    linked("releases", made("elsewhere"))
    expect([made("old-releases", "1"), made("releases", "app"), made("releases2", "x", "y")].map { |path| reached(path).size }).to eq([1, 1, 1])
  end

  it "is the application's directory alone when that does not exist" do
    expect(reached("#{@root}/releases/none")).to eq(%w[releases/none])
  end
end
